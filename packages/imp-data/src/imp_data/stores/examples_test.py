import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imp_data.stores.atomic import AtomicFile
from imp_data.stores.examples import Example, Examples, ExampleWriter, examples_path, index_path
from imp_data.stores.shards import Shards

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
EXAMPLES = st.builds(
    Example,
    id=TEXTS,
    texts=st.lists(TEXTS, max_size=3).map(tuple),
    labels=st.sets(st.integers(0, 2**31 - 1), max_size=3).map(sorted).map(tuple),
)


def write(root, shards):
    """{shard's number: its examples} -> the writers, which have counted."""
    writers = {}
    for shard, members in shards.items():
        lines = root / examples_path("train", shard)
        index = root / index_path("train", shard)
        with AtomicFile(lines) as lines, AtomicFile(index) as index:
            writers[shard] = ExampleWriter(lines, index)
            for example in members:
                writers[shard].append(example)
            writers[shard].finish()
    return writers


def reader(root, shards, **keep):
    places = Shards.of((shard, len(members)) for shard, members in shards.items())
    return Examples(root, "train", places, **keep)


@settings(deadline=None, max_examples=50)
@given(
    shards=st.dictionaries(st.integers(0, 99), st.lists(EXAMPLES, max_size=6), max_size=5),
    seed=st.integers(0, 99),
    keep=st.fixed_dictionaries({"keep": st.booleans(), "keep_labels": st.booleans()}),
)
def test_what_was_written_comes_back_in_any_order(tmp_path_factory, shards, seed, keep):
    root = tmp_path_factory.mktemp("examples")
    writers = write(root, shards)
    whole = [example for shard in sorted(shards) for example in shards[shard]]
    examples = reader(root, shards, **keep)
    assert len(examples) == len(whole)
    assert list(examples) == whole
    index = np.random.default_rng(seed).integers(0, max(len(whole), 1), 9 if whole else 0)
    for _ in range(2):
        assert examples.read(index) == [whole[i] for i in index]
        assert examples.single_labels(index).tolist() == [
            whole[i].labels[0] if len(whole[i].labels) == 1 else -1 for i in index
        ]
    assert sum(w.num_captioned for w in writers.values()) == sum(bool(e.texts) for e in whole)
    assert sum(w.num_labelled for w in writers.values()) == sum(bool(e.labels) for e in whole)
    assert sum(w.num_single_label for w in writers.values()) == sum(
        len(e.labels) == 1 for e in whole
    )


SHARDS = {
    3: [Example(id=f"a/{i}", texts=(f"grey {i}",), labels=(i,)) for i in range(4)],
    7: [Example(id="b", texts=("x", "ÿ"))],
}
WHOLE = SHARDS[3] + SHARDS[7]


def is_itself(examples, row):
    """Whether the row is read as it was written; else it must be refused, by its file's name."""
    try:
        found = examples.read(np.array([row]))
    except ValueError as error:
        found = str(error)
    if isinstance(found, str):
        assert "00003.jsonl or its index is damaged (imp-data verify)" in found
        return False
    assert found == [WHOLE[row]]
    return True


@pytest.mark.parametrize("path", [examples_path("train", 3), index_path("train", 3)])
def test_any_changed_byte_is_found_and_no_example_is_another(tmp_path, path):
    write(tmp_path, SHARDS)
    examples = reader(tmp_path, SHARDS)
    file = tmp_path / path
    sound = file.read_bytes()
    for place in range(len(sound)):
        for changed in (sound[place] ^ 1, sound[place] ^ 0x80):
            file.write_bytes(sound[:place] + bytes([changed]) + sound[place + 1 :])
            with pytest.raises(ValueError, match=r"00003\.(jsonl|index) .*imp-data verify"):
                list(examples)
            refused = [row for row in range(len(WHOLE)) if not is_itself(examples, row)]
            if file.suffix == ".index":
                with pytest.raises(ValueError, match=r"00003\.index .*imp-data verify"):
                    reader(tmp_path, SHARDS).single_labels(np.arange(len(WHOLE)))
                # Labels and the checksum of all are for whoever reads the index whole.
                assert refused or place % 16 >= 12 or place >= len(sound) - 4
            else:
                assert refused
    for cut in (b"", sound[:-1], sound[: len(sound) // 2]):
        file.write_bytes(cut)
        with pytest.raises(ValueError, match="imp-data verify"):
            list(examples)


@pytest.mark.parametrize("path", [examples_path("train", 7), index_path("train", 7)])
def test_a_missing_file_is_named(tmp_path, path):
    write(tmp_path, SHARDS)
    (tmp_path / path).unlink()
    examples = reader(tmp_path, SHARDS)
    assert examples.read(np.array([3, 0])) == [WHOLE[3], WHOLE[0]]
    with pytest.raises(ValueError, match=rf"{path} is missing \(imp-data verify\)"):
        examples.read(np.array([4]))
    with pytest.raises(ValueError, match="is missing"):
        list(examples)


def test_lines_are_json_for_any_tool(tmp_path):
    import json

    write(tmp_path, SHARDS)
    lines = (tmp_path / examples_path("train", 3)).read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a/0", "a/1", "a/2", "a/3"]
    assert json.loads(lines[1]) == {"id": "a/1", "texts": ["grey 1"], "labels": [1]}


@pytest.mark.parametrize("index", [[-1], [5], [0, 5]])
def test_an_example_that_there_is_not_is_an_error(tmp_path, index):
    write(tmp_path, SHARDS)
    with pytest.raises(IndexError, match="within 0 and 4"):
        reader(tmp_path, SHARDS).read(np.array(index))


def test_more_shards_than_may_be_open_at_once(tmp_path):
    shards = {number: [Example(id=str(number))] for number in range(150)}
    write(tmp_path, shards)
    order = np.random.default_rng(0).permutation(150)
    found = reader(tmp_path, shards).read(order)
    assert [int(example.id) for example in found] == order.tolist()
    assert dataclasses.asdict(found[0]).keys() == {"id", "texts", "labels"}
