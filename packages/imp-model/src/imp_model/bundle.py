"""Bundle: config, parameters, tokenizer and views in one folder; where training and serving meet.

bundle.json         format, config, pairs, classifiers, views, metadata, sha256 of the others
params.safetensors  every parameter under part/path
tokenizer.model     SentencePiece, present if the model reads text
"""

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from imp_model.config import ModelConfig
from imp_model.model import Model, Pair

FORMAT = 1
_PARAMS, _TOKENIZER, _INDEX = "params.safetensors", "tokenizer.model", "bundle.json"
_FIELDS = ("config", "pairs", "classifiers", "views", "metadata", "sha256")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bundle:
    """`views`: modality -> JSON of the view it was trained on; `digest` names the content."""

    config: ModelConfig
    model: Model
    pairs: tuple[Pair, ...]
    classifiers: dict[str, tuple[str, ...]]
    views: dict[str, dict[str, Any]]
    tokenizer_path: Path | None
    metadata: dict[str, Any]
    digest: str


def flatten(parts: Mapping[str, Any]) -> dict[str, Any]:
    """{part/path: array, or shape of an abstract model's} over every parameter, in stable order.

    A part is a module or any other tree of arrays."""
    flat, _ = jax.tree.flatten_with_path(dict(parts))
    return {_name(path): value for path, value in flat}


def save(
    path: Path,
    model: Model,
    *,
    pairs: Sequence[Pair],
    classifiers: Mapping[str, Sequence[str]],
    views: Mapping[str, Mapping[str, Any]],
    tokenizer: bytes | None,
    metadata: Mapping[str, Any],
) -> None:
    """Writes the whole folder or nothing; an older bundle at `path` is replaced."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        arrays = {k: np.asarray(v) for k, v in flatten(model.parts).items()}
        safetensors.numpy.save_file(arrays, staging / _PARAMS)
        if tokenizer is not None:
            (staging / _TOKENIZER).write_bytes(tokenizer)
        index = {
            "format": FORMAT,
            "config": dataclasses.asdict(model.config),
            "pairs": [list(pair) for pair in pairs],
            "classifiers": {name: list(labels) for name, labels in classifiers.items()},
            "views": {modality: dict(view) for modality, view in views.items()},
            "metadata": dict(metadata),
            "sha256": {p.name: _sha256(p) for p in sorted(staging.iterdir())},
        }
        (staging / _INDEX).write_text(json.dumps(index, indent=1) + "\n")
        staging.chmod(0o755)
        if path.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.parent))
            os.rename(path, retired / path.name)
            os.rename(staging, path)
            shutil.rmtree(retired)
        else:
            os.rename(staging, path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def load(path: Path) -> Bundle:
    """Raises FileNotFoundError without a bundle, ValueError for an altered or foreign one."""
    path = Path(path)
    index_path = path / _INDEX
    text = _index(path)
    try:
        index = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{index_path} is not JSON ({error}); copy the bundle again") from None
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        found = index.get("format") if isinstance(index, dict) else None
        newer = isinstance(found, int) and found > FORMAT
        raise ValueError(
            f"{path} is a bundle of format {found}; this version reads format {FORMAT}"
            + (": upgrade imp-model" if newer else "")
        )
    if lacking := [name for name in _FIELDS if name not in index]:
        raise ValueError(f"{index_path} has no {lacking[0]!r}; copy the bundle again")
    for name, digest in index["sha256"].items():
        if not (path / name).is_file() or _sha256(path / name) != digest:
            raise ValueError(f"{path / name} is missing or altered; copy the bundle again")
    config = _config(index["config"], index_path)
    pairs = tuple((a, b) for a, b in index["pairs"])
    classifiers = {name: tuple(labels) for name, labels in index["classifiers"].items()}
    model = Model.abstract(
        config, pairs=pairs, classifiers={k: len(v) for k, v in classifiers.items()}
    )
    tokenizer = path / _TOKENIZER
    return Bundle(
        config=config,
        model=restore(model, safetensors.numpy.load_file(path / _PARAMS), path / _PARAMS),
        pairs=pairs,
        classifiers=classifiers,
        views=index["views"],
        tokenizer_path=tokenizer if tokenizer.is_file() else None,
        metadata=index["metadata"],
        digest=_digest(text),
    )


def digest_of(path: Path) -> str:
    """The `digest` of the bundle at `path`, without loading it; FileNotFoundError without one."""
    return _digest(_index(Path(path)))


def _index(path: Path) -> bytes:
    if not (path / _INDEX).is_file():
        # A run's folder, or a folder of runs.
        below = [path / "bundle" / _INDEX, *sorted(path.glob(f"*/bundle/{_INDEX}"))]
        if found := [index.parent for index in below if index.is_file()]:
            raise FileNotFoundError(f"{path} holds no bundle; {found[0]} is one: name that")
        raise FileNotFoundError(
            f"{path} holds no bundle ({_INDEX} is missing); train one with `imp-train run`"
        )
    return (path / _INDEX).read_bytes()


def _digest(index: bytes) -> str:
    return hashlib.sha256(index).hexdigest()[:16]


def _config(values: Mapping[str, Any], origin: Path) -> ModelConfig:
    """A field with a default may be absent: the bundle is older than the field."""
    fields = {f.name: f.default is dataclasses.MISSING for f in dataclasses.fields(ModelConfig)}
    if unknown := sorted(set(values) - set(fields)):
        raise ValueError(f"{origin} sets {unknown[0]!r}, which this version of imp-model lacks")
    if lacking := [name for name, needed in fields.items() if needed and name not in values]:
        raise ValueError(f"{origin} sets no {lacking[0]!r}; copy the bundle again")
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return ModelConfig(**given)


def restore(model: Model, arrays: Mapping[str, np.ndarray], origin: Path | str) -> Model:
    """`model` with its parameters replaced by name. ValueError where names or shapes differ."""
    parts = dict(model.parts)
    flat, structure = jax.tree.flatten_with_path(parts)
    names = [_name(path) for path, _ in flat]
    if odd := set(names) ^ set(arrays):
        raise ValueError(f"{origin} and the model differ in parameter {sorted(odd)[0]!r}")
    for name, (_, value) in zip(names, flat, strict=True):
        if arrays[name].shape != value.shape:
            raise ValueError(
                f"{origin} has {name!r} of {arrays[name].shape}; the model needs {value.shape}"
            )
    leaves = [jnp.asarray(arrays[name]) for name in names]
    return Model(model.config, jax.tree.unflatten(structure, leaves))


def _name(path: tuple[Any, ...]) -> str:
    """part/attribute/…; the step into a Variable's own value is left out."""
    steps = [str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", None)))) for k in path]
    return "/".join(steps[:-1] if steps[-1] == "value" else steps)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
