"""The bundle on disk: round trip, refusal of what is not whole, replacement."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from imp_model import bundle
from imp_model.bundle import flatten
from imp_model.model import Model

PAIRS = (("image", "text"),)


@pytest.fixture
def save(config, tmp_path):
    small = Model.create(config, pairs=PAIRS, classifiers={"animals": 2}, seed=3)

    def write(path=tmp_path / "bundle", model=small, **changes):
        fields = {
            "pairs": PAIRS,
            "classifiers": {"animals": ["cat", "dog"]},
            "views": {"image": {"modality": "image", "size": 16}},
            "tokenizer": b"pieces",
            "metadata": {"step": 7},
        }
        bundle.save(path, model, **(fields | changes))
        return path, model

    return write


def test_round_trip(save, config):
    path, model = save()
    loaded = bundle.load(path)
    assert loaded.config == config
    assert loaded.pairs == PAIRS
    assert loaded.classifiers == {"animals": ("cat", "dog")}
    assert loaded.views == {"image": {"modality": "image", "size": 16}}
    assert loaded.metadata == {"step": 7}
    assert loaded.tokenizer_path.read_bytes() == b"pieces"
    ours, theirs = flatten(model.parts), flatten(loaded.model.parts)
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name])
    assert jax.tree.structure(dict(model.parts)) == jax.tree.structure(dict(loaded.model.parts))


def test_towers_round_trip(config, tmp_path):
    towers = dataclasses.replace(config, towers="two_full")
    model = Model.create(towers, pairs=PAIRS, seed=0)
    path = tmp_path / "towers"
    bundle.save(
        path,
        model,
        pairs=PAIRS,
        classifiers={},
        views={},
        tokenizer=None,
        metadata={},
    )
    loaded = bundle.load(path)
    assert loaded.config == towers
    ours, theirs = flatten(model.parts), flatten(loaded.model.parts)
    assert {"encoder/text/moe/ffn/up", "encoder/perception/norm/scale"} <= set(theirs)
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name])


def test_a_bundle_older_than_a_field_is_read_with_its_default(save, config):
    path, _ = save()
    file = path / "bundle.json"
    index = json.loads(file.read_text())
    for name in ("router", "top_k", "towers", "moe_placement", "layers", "router_noise"):
        del index["config"][name]
    file.write_text(json.dumps(index))
    assert bundle.load(path).config == config


def test_parameter_names_are_of_our_own_making(save):
    names = flatten(save()[1].parts)
    assert {"encoder/moe/ffn/up", "head/image>text/up/kernel", "classifier/animals/kernel"} <= set(
        names
    )
    assert not [name for name in names if name.endswith("/value")]


def test_no_tokenizer_where_no_text_is_read(save):
    path, _ = save(tokenizer=None)
    assert bundle.load(path).tokenizer_path is None


def test_the_digest_names_the_content(save, tmp_path, config):
    a, model = save()
    b, _ = save(tmp_path / "again", model)
    c, _ = save(tmp_path / "other", model, metadata={"step": 8})
    other = Model.create(config, pairs=PAIRS, classifiers={"animals": 2}, seed=4)
    d, _ = save(tmp_path / "seed", other)
    digests = [bundle.load(path).digest for path in (a, b, c, d)]
    assert bundle.digest_of(a) == digests[0]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def _one_line(error):
    return "\n" not in str(error.value)


def test_a_missing_bundle_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="imp-train run") as error:
        bundle.load(tmp_path / "nowhere")
    assert _one_line(error)


def test_a_run_s_folder_and_a_folder_of_runs_say_where_the_bundle_is(save, tmp_path):
    place, _ = save(tmp_path / "runs" / "first" / "bundle")
    for above in (tmp_path / "runs", tmp_path / "runs" / "first"):
        with pytest.raises(FileNotFoundError, match=f"{place} is one: name that"):
            bundle.load(above)


@pytest.mark.parametrize("name", ["params.safetensors", "tokenizer.model"])
@pytest.mark.parametrize("harm", ["cut", "flip", "remove"])
def test_a_harmed_file_is_refused_by_name(save, name, harm):
    path, _ = save()
    data = bytearray((path / name).read_bytes())
    data[-1] ^= 1
    match harm:
        case "cut":
            (path / name).write_bytes(data[:-1])
        case "flip":
            (path / name).write_bytes(data)
        case "remove":
            (path / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is missing or altered") as error:
        bundle.load(path)
    assert _one_line(error)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda index: {}, "format None"),
        (lambda index: [1], "format None"),
        (lambda index: index | {"format": 99}, "format 99; this version reads format 1: upgrade"),
        (lambda index: {k: v for k, v in index.items() if k != "sha256"}, "sha256"),
        (lambda index: {k: v for k, v in index.items() if k != "views"}, "views"),
        (lambda index: index | {"config": index["config"] | {"wings": 2}}, "wings"),
        (lambda index: index | {"config": {"width": 16}}, "no 'mlp'"),
        (lambda index: index | {"config": index["config"] | {"num_heads": 5}}, "num_heads 5"),
        (lambda index: index | {"config": index["config"] | {"width": 32}}, "the model needs"),
        (lambda index: index | {"classifiers": {}}, "classifier/animals"),
    ],
)
def test_an_altered_index_is_refused(save, change, said):
    path, _ = save()
    file = path / "bundle.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(ValueError, match=said) as error:
        bundle.load(path)
    assert _one_line(error)


def test_a_cut_index_is_refused(save):
    path, _ = save()
    file = path / "bundle.json"
    file.write_text(file.read_text()[:100])
    with pytest.raises(ValueError, match="not JSON") as error:
        bundle.load(path)
    assert _one_line(error)


def test_a_save_replaces_the_whole_bundle_and_leaves_nothing_beside_it(save, tmp_path):
    path, _ = save()
    save(tokenizer=None, metadata={"step": 8})
    loaded = bundle.load(path)
    assert loaded.metadata == {"step": 8}
    assert loaded.tokenizer_path is None
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_a_save_that_fails_leaves_the_older_bundle(save, tmp_path):
    path, _ = save()
    before = bundle.load(path).digest
    with pytest.raises(TypeError):
        save(metadata={"step": object()})
    assert bundle.load(path).digest == before
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_restore_needs_every_parameter_by_its_shape(save):
    _, model = save()
    arrays = {name: np.asarray(value) for name, value in flatten(model.parts).items()}
    with pytest.raises(ValueError, match="'wing'"):
        bundle.restore(model, arrays | {"wing": np.zeros(1)}, "here")
    name = "encoder/norm/scale"
    with pytest.raises(ValueError, match=name):
        bundle.restore(model, arrays | {name: np.zeros(3)}, "here")
    with pytest.raises(ValueError, match=name):
        bundle.restore(model, {k: v for k, v in arrays.items() if k != name}, "here")


def test_config_survives_json_field_by_field(config):
    fields = json.loads(json.dumps(dataclasses.asdict(config)))
    restored = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    assert type(config)(**restored) == config
