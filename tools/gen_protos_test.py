import pathlib
import shutil

import pytest

import gen_protos

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture
def checkout(tmp_path):
    """A copy of the protos and of their committed code."""
    shutil.copytree(REPOSITORY / "proto", tmp_path / "proto")
    shutil.copytree(
        REPOSITORY / gen_protos.OUT,
        tmp_path / gen_protos.OUT,
        ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"),
    )
    return tmp_path


def test_committed_code_is_what_the_protos_say(checkout):
    assert gen_protos.stale(checkout) == []


def test_an_edited_proto_makes_its_code_stale(checkout):
    path = checkout / "proto/imp_proto/v1/record.proto"
    path.write_text(path.read_text() + "\nmessage Planted { int32 x = 1; }\n")
    assert "imp_proto/v1/record_pb2.py" in gen_protos.stale(checkout)
    assert gen_protos.main(["--check", "--root", str(checkout)]) == 1


def test_code_without_a_proto_is_stale(checkout):
    (checkout / gen_protos.OUT / "imp_proto/v1/gone_pb2.py").write_text("")
    assert gen_protos.stale(checkout) == ["imp_proto/v1/gone_pb2.py"]
    assert gen_protos.main(["--root", str(checkout)]) == 0
    assert gen_protos.stale(checkout) == []


def test_a_broken_proto_is_refused_in_one_line(checkout, capfd):
    (checkout / "proto/imp_proto/v1/bad.proto").write_text("mesage X {}")
    assert gen_protos.main(["--root", str(checkout)]) == 2
    assert "gen_protos: protoc refused the protos" in capfd.readouterr().err


def test_no_protos_says_what_to_do(tmp_path, capsys):
    assert gen_protos.main(["--root", str(tmp_path)]) == 2
    assert "give the repository with --root" in capsys.readouterr().err
