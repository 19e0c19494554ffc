"""The protocol from outside Python: Node.js's own gRPC, and the .proto files alone."""

import json
import pathlib
import shutil
import subprocess

import numpy as np
import pytest

from imp_eval.client import Client, Input, text
from imp_eval.conftest import png

HERE = pathlib.Path(__file__).parent
REPOSITORY = HERE.parents[3]


@pytest.fixture(scope="module")
def node(tmp_path_factory) -> pathlib.Path:
    """A folder with the script and the packages that it names, from npm's registry."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("no node and npm on PATH")
    folder = tmp_path_factory.mktemp("node") / "client"
    shutil.copytree(HERE / "node", folder)
    command = ["npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm had not the packages after 120 s")
    if done.returncode:
        pytest.skip(f"npm can't have the packages: {done.stderr.strip().splitlines()[-1:]}")
    return folder


def test_node_embeds_classifies_searches_and_streams(node, address, tmp_path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(png(0))
    done = subprocess.run(
        ["node", "client.mjs", str(address), str(REPOSITORY / "proto"), str(picture)],
        cwd=node,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    with Client(address) as client:
        assert answer["digest"] == client.model().digest
        [image] = client.embed([Input(image=png(0))], "text")
        [words] = client.embed([text("a red thing")], "image")
        want = [np.asarray(row) for row in (image, words)]
        for got, row in zip(answer["vectors"], want, strict=True):
            assert np.array(got, np.float32).tobytes() == row.tobytes()
        streamed = client.embed([text(f"word {i}") for i in range(20)], "image")
        assert np.array(answer["streamed"], np.float32).tobytes() == np.stack(streamed).tobytes()
        client.drop_collection("node")
    assert answer["failure"]["code"] == 3
    assert "not a readable image" in answer["failure"]["message"]
    assert sorted(answer["classes"]) == ["green", "red"]
    assert answer["hit"] == "one"
    assert answer["refused"] == {
        "code": 3,
        "details": "the request holds no items; give at least one",
    }
