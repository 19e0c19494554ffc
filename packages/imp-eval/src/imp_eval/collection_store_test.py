import pathlib

import numpy as np
import pytest

from imp_eval import collection_store
from imp_eval.collection_store import (
    AlreadyExistsError,
    CollectionConfig,
    Collections,
    NotFoundError,
)


def config(name: str = "things") -> CollectionConfig:
    return CollectionConfig(
        name=name, modality="image", query_modality="text", dim=4, model_digest="d"
    )


def rows(*values: float | int) -> np.ndarray:
    out = np.zeros((len(values), 4), np.float32)
    out[:, 0] = values
    return out


QUERY = np.array([1, 0, 0, 0], np.float32)


def found(folder: pathlib.Path, name: str = "things") -> list[tuple[str, float, dict[str, str]]]:
    collections = Collections(folder)
    hits = collections.get(name).search(QUERY, 100)
    collections.close()
    return [(hit.id, hit.score, hit.metadata) for hit in hits]


def test_every_acknowledged_change_is_there_after_reopening(tmp_path) -> None:
    collections = Collections(tmp_path)
    things = collections.create(config())
    things.upsert(["a", "b"], rows(1, 2), [{"x": "ü"}, {}])
    things.upsert(["b", "c"], rows(3, 0.5), [{"new": "1"}, {}])
    assert things.delete(["a", "none"]) == 1
    collections.close()
    assert found(tmp_path) == [("b", 3.0, {"new": "1"}), ("c", 0.5, {})]


def test_a_snapshot_replaces_the_changes_before_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(collection_store, "_MAX_CHANGES", 5)
    collections = Collections(tmp_path)
    things = collections.create(config())
    for i in range(23):
        things.upsert([f"{i % 7}"], rows(i), [{"i": str(i)}])
        things.delete([f"{(i + 3) % 7}"])
    want = [(h.id, h.score, h.metadata) for h in things.search(QUERY, 100)]
    collections.close()
    assert len(list((tmp_path / "things").glob("*.npz"))) <= 6
    assert found(tmp_path) == want


def test_leftovers_of_a_cut_off_write_are_not_seen(tmp_path) -> None:
    collections = Collections(tmp_path)
    collections.create(config()).upsert(["a"], rows(1), [{}])
    collections.close()
    (tmp_path / "things" / "000000000002.tmp").write_bytes(b"PK half")
    (tmp_path / ".new-other").mkdir()
    (tmp_path / ".dropped-old-1").mkdir()
    assert found(tmp_path) == [("a", 1.0, {})]
    assert {p.name for p in tmp_path.iterdir()} == {"things"}
    assert not list((tmp_path / "things").glob("*.tmp"))


def test_damage_is_told_and_not_served(tmp_path) -> None:
    collections = Collections(tmp_path)
    collections.create(config()).upsert(["a"], rows(1), [{}])
    collections.close()
    change = tmp_path / "things" / "000000000001.npz"
    change.write_bytes(change.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"000000000001.npz is damaged .* index its files again"):
        Collections(tmp_path)


def test_drop_frees_the_name_and_refuses_later_changes(tmp_path) -> None:
    collections = Collections(tmp_path)
    old = collections.create(config())
    with pytest.raises(AlreadyExistsError, match="there already"):
        collections.create(config())
    collections.drop("things")
    with pytest.raises(NotFoundError, match="dropped"):
        old.upsert(["a"], rows(1), [{}])
    with pytest.raises(NotFoundError, match="there are: none yet"):
        collections.get("things")
    assert len(collections.create(config())) == 0
    collections.close()


def test_one_server_a_folder(tmp_path) -> None:
    first = Collections(tmp_path)
    with pytest.raises(ValueError, match="another process is writing"):
        Collections(tmp_path)
    first.close()
    Collections(tmp_path).close()


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a/b", "a" * 65, "nul\0", "ü", "a\n"])
def test_names_that_are_no_plain_file_names_are_refused(name) -> None:
    with pytest.raises(ValueError, match="collection name"):
        config(name)
