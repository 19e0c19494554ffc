"""MSR-VTT: the challenge's JSON of videos and sentences, or the CSV of the 1k-A test split."""

import csv
import io
import json
import posixpath
from collections.abc import Iterator

from imp_data.sources import files
from imp_data.sources.item import Item
from imp_data.sources.table import Context, broken, check_split, suffix_of

_CSV = ("video_id", "sentence")


def read_msrvtt(location: str, context: Context) -> Iterator[Item]:
    """An item a video with its sentences; the files lie anywhere below `root`, by their video_id.

    Raises ValueError for a file of another shape.
    """
    for path in files.expand(location):
        text = files.read_bytes(path).decode("utf-8-sig", errors="replace")
        videos, sentences = _csv(text, path) if path.endswith(".csv") else _json(text, path)
        root = context.root_of(path)
        places = {
            posixpath.splitext(posixpath.basename(name))[0]: posixpath.join(root, name)
            for name in files.walk(root)
            if suffix_of(name) in context.suffixes
        }
        for video, split in videos.items():
            split = context.split or check_split(split)
            if not sentences.get(video):
                yield broken(video, path, f"{video} has no sentence", split)
                continue
            # That a file is missing shows when it is read: many hold the test videos alone.
            place = places.get(video, posixpath.join(root, f"{video}.mp4"))
            yield Item(id=video, path=place, texts=tuple(sentences[video]), split=split)


def _json(text: str, path: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    sentences: dict[str, list[str]] = {}
    try:
        content = json.loads(text)
        videos = {v["video_id"]: v["split"] for v in content["videos"]}
        for sentence in content["sentences"]:
            sentences.setdefault(sentence["video_id"], []).append(sentence["caption"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} is not MSR-VTT: it needs videos with video_id and split, and sentences with "
            f"video_id and caption ({type(error).__name__}: {str(error)[:80]})"
        ) from error
    return videos, sentences


def _csv(text: str, path: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if missing := [name for name in _CSV if name not in (rows.fieldnames or ())]:
        raise ValueError(f"{path} has no column {missing[0]!r}; MSR-VTT's 1k-A list has")
    sentences: dict[str, list[str]] = {}
    for row in rows:
        sentences.setdefault(row["video_id"], []).append(row["sentence"])
    return dict.fromkeys(sentences, "test"), sentences
