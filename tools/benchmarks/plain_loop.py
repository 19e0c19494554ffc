"""The hand-written loop that a Beam build is held against: same decode, same resize, same store.

It writes as anyone would who takes the store's writer: a checksum for every row and file, each file
whole or not at all. It has no plan, shuffle, counts or receipts, and a bad file ends it.
"""

import json
import multiprocessing
import sys
from pathlib import Path

from imp_data import media
from imp_data.stores import tensorstore
from imp_data.stores.atomic import AtomicFile
from imp_data.views import ImageView

SHARDS = 16


def main(source: Path, out: Path, size: int, processes: int) -> None:
    paths = sorted((source / "train").rglob("*.jpg"))
    count = -(-len(paths) // SHARDS)
    view = ImageView(size=size)
    tensorstore.write_metadata(out, "train", view, num_shards=SHARDS, shard_size=count)
    jobs = [(paths[k * count : (k + 1) * count], out, view, k, count) for k in range(SHARDS)]
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        pool.starmap(_write_shard, jobs, chunksize=1)


def _write_shard(paths: list[Path], out: Path, view: ImageView, shard: int, count: int) -> None:
    rows = out / "examples" / f"{shard:05d}.jsonl"
    rows.parent.mkdir(exist_ok=True)
    with (
        AtomicFile(tensorstore.shard_path(out, "train", view, shard)) as file,
        rows.open("w", encoding="utf-8") as lines,
    ):
        writer = tensorstore.ShardWriter(file, view, count)
        for path in paths:
            writer.append(media.load(path.read_bytes(), view))
            lines.write(json.dumps({"id": path.name, "label": path.parent.name}) + "\n")
        writer.finish()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
