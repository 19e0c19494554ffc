"""Frozen: what plan.json keeps of a plan, and whether a later build may go on from it."""

import dataclasses
import json
import pathlib
from collections.abc import Collection
from typing import Any

from imp_data import views as views_lib
from imp_data.media.limits import Limits
from imp_data.stores.atomic import write_file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frozen:
    """`shards`: the fingerprint of each input by its id, by the shard's name, all in order.

    `dropped` are inputs that a screening left out.
    """

    digest: str
    source: str
    options: dict[str, Any]
    limits: Limits
    labels: tuple[str, ...]
    shard_sizes: dict[str, int]
    shards: dict[str, dict[str, str]]
    dropped: tuple[str, ...]

    @property
    def inputs(self) -> dict[str, str]:
        """Id -> fingerprint of all that is in the shards."""
        return {identity: mark for own in self.shards.values() for identity, mark in own.items()}

    def check_inputs(self, ids: Collection[str], *, extend: bool) -> None:
        """Raises ValueError when inputs are gone, or new and not to be added."""
        present, inputs = set(ids), self.inputs
        if gone := [identity for identity in inputs if identity not in present]:
            raise ValueError(f"the source has lost {_some(gone)}")
        new = [i for i in ids if i not in inputs and i not in set(self.dropped)]
        if new and not extend:
            raise ValueError(f"the source has new inputs, {_some(new)}; add them with --extend")

    def check_plan(self, plan: "Frozen", *, retried: Collection[str], retry: bool) -> None:
        """Raises ValueError where `plan` is not this one, extended.

        Of inputs only those that are `retried` may differ; to `retry`, limits may be raised.
        """
        for name, value in plan.options.items():
            if self.options[name] != value:
                old, new = _shown(name, self.options[name]), _shown(name, value)
                raise ValueError(f"it was built with {name} {old}, not {new}")
        for field in dataclasses.fields(Limits):
            old, new = (getattr(limits, field.name) for limits in (self.limits, plan.limits))
            if new < old or (new > old and not retry):
                raise ValueError(f"it was built with {field.name} {old}, not {new}")
        inputs = plan.inputs
        changed = [
            identity
            for identity, mark in self.inputs.items()
            # What is not in the plan was dropped by a screening, which says so itself.
            if inputs.get(identity, mark) != mark and identity not in retried
        ]
        if changed:
            raise ValueError(f"{_some(changed)} changed since")


def read(path: pathlib.Path) -> Frozen | None:
    """The plan at `path`, None for no such file. Raises ValueError for one of another version."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
        return Frozen(
            digest=content["digest"],
            source=content["source"],
            options=content["options"],
            limits=Limits(**content["limits"]),
            labels=tuple(content["labels"]),
            shard_sizes=content["shard_sizes"],
            shards=content["shards"],
            dropped=tuple(content["dropped"]),
        )
    except (KeyError, TypeError, ValueError):
        raise ValueError("its plan.json is damaged or of another version of imp-data") from None


def write(path: pathlib.Path, plan: Frozen) -> None:
    write_file(path, json.dumps(dataclasses.asdict(plan)).encode())


def _shown(option: str, value: Any) -> Any:
    """Views by their keys, as the user writes them."""
    if option != "views":
        return value
    return ", ".join(views_lib.from_json(view).key for view in value)


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]!r}{rest}"
