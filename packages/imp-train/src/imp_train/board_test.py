"""What is added is there for TensorBoard, and a full disk is an error at once."""

import resource

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from imp_data.stores.tfrecord import TFRecordReader
from imp_train.board import Board


def events(folder):
    [path] = folder.iterdir()
    return [Event.FromString(payload) for payload in TFRecordReader(path)]


def test_scalars_and_where_a_resumed_run_begins_are_there(tmp_path):
    board = Board(tmp_path / "board", start=5)
    board.add("train/colours/loss", 0.5, 5)
    board.add("train/colours/loss", 0.25, 6)
    board.close()
    version, start, *scalars = events(tmp_path / "board")
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (5, SessionLog.START)
    found = [
        (own.step, own.summary.value[0].tag, own.summary.value[0].simple_value) for own in scalars
    ]
    assert found == [(5, "train/colours/loss", 0.5), (6, "train/colours/loss", 0.25)]


def fill(board):
    for step in range(10_000):
        board.add("train/colours/loss", 0.5, step)


def test_no_room_is_an_error_and_nobody_waits(tmp_path):
    board = Board(tmp_path, start=0)
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            fill(board)
        with pytest.raises(OSError, match="too large"):
            board.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        board.close()
