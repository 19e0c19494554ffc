"""The second writer of a folder is refused, in this process or another, until the first is done."""

import subprocess
import sys
import threading

import pytest

from imp_data.stores.lock import sole_writer

_HOLD = """
import pathlib, sys, time
from imp_data.stores.lock import sole_writer
with sole_writer(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path):
    folder = tmp_path / "new" / "folder"
    with sole_writer(folder), pytest.raises(ValueError, match="another process is writing"):
        with sole_writer(folder):
            raise AssertionError("held twice")
    with sole_writer(folder):
        assert list(folder.iterdir()) == []


def test_a_file_is_no_folder_to_write(tmp_path):
    file = tmp_path / "notes"
    file.write_text("mine")
    with pytest.raises(NotADirectoryError, match="is a file; give"), sole_writer(file):
        raise AssertionError("held a file")
    assert file.read_text() == "mine"


def test_an_error_of_the_writer_stays_its_own(tmp_path):
    with pytest.raises(BlockingIOError, match="mine"), sole_writer(tmp_path):
        raise BlockingIOError("mine")


def test_a_killed_writer_holds_nothing(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout as lines:
        assert lines.readline() == "held\n"
        with pytest.raises(ValueError, match=str(tmp_path)), sole_writer(tmp_path):
            raise AssertionError("held twice")
        threading.Timer(0.2, process.kill).start()
        with sole_writer(tmp_path, wait=True):
            assert process.wait() < 0
