"""What a workdir tells of its run, and a digest of the parameters that moves with any bit."""

import json
import shutil

import pytest

from imp_train.inspect import add_session, digest, inspect
from imp_train.train import train


def test_a_finished_run_tells_what_it_took(whole):
    found = inspect(whole[0])
    assert (found.name, found.step, found.steps, found.saved) == ("tiny", 6, 6, 6)
    assert found.finished
    (session,) = found.sessions
    assert (session["start"], session["step"], session["signatures"]) == (0, 6, 2)
    assert session["seconds"]["compile"] > 0
    text = str(found)
    assert text.startswith("tiny: step 6 of 6, finished\n")
    assert "in 1 session: 2 programs compiled in " in text
    assert "while others trained" in text


def test_sessions_add_up_and_what_was_skipped_is_told(whole, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(whole[0], workdir)
    shutil.rmtree(workdir / "bundle")
    shutil.rmtree(workdir / "checkpoints" / "6")
    (workdir / "sessions.json").unlink()
    for start in (0, 3):
        seconds = {"total": 100.0, "compile": 3.0, "waiting": 0.5}
        add_session(
            workdir, {"start": start, "step": start + 3, "signatures": 2, "seconds": seconds}
        )
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    broken = json.loads(lines[1]) | {"loss": float("nan")}
    # Two records of one mixed step, and what a kill left of a third.
    again = json.dumps(broken)
    (workdir / "metrics.jsonl").write_text("\n".join([lines[0], again, again, lines[2][:9]]))
    text = str(inspect(workdir))
    assert "tiny: step 2 of 6, saved at step 3" in text
    assert "200 s in 2 sessions: 4 programs compiled in 6.0 s (3.00%) while others" in text
    assert "1.0 s (0.50%) waiting for data" in text
    assert "1 steps skipped" in text


def test_the_digest_is_the_parameters_bit_for_bit(whole, make, tmp_path):
    step, text = digest(whole[0])
    assert (step, len(text)) == (6, 64)
    assert digest(whole[0]) == (step, text)
    train(make(), tmp_path / "parts", progress=False, stop_after=4)
    early = digest(tmp_path / "parts")
    assert early[0] == 4
    assert early[1] != text
    train(make(), tmp_path / "parts", progress=False)
    assert digest(tmp_path / "parts") == (6, text)
    assert [own["start"] for own in inspect(tmp_path / "parts").sessions] == [0, 4]


def test_nothing_there_is_told_in_a_line(whole, tmp_path):
    with pytest.raises(FileNotFoundError, match="imp-train run"):
        inspect(tmp_path)
    with pytest.raises(FileNotFoundError, match="has no checkpoint yet"):
        digest(tmp_path)
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "metrics.jsonl").write_text("")
    with pytest.raises(FileNotFoundError, match=f"{tmp_path / 'first'} is one: name that"):
        inspect(tmp_path)
