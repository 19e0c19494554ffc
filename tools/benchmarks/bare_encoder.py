"""The encoder with no server; its arguments: BUNDLE CACHE PHOTOS MODALITY BATCH SECONDS.

Decodes and embeds full batches, one after the other; prints CPU seconds an item, items a second.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.serving_caller import inputs
from imp_eval.inference import Encoder, use_compilation_cache
from imp_eval.preprocess import Preprocessor
from imp_model import bundle


def main() -> None:
    path, cache, photos, modality, batch_size, seconds = sys.argv[1:]
    use_compilation_cache(Path(cache))
    loaded = bundle.load(Path(path))
    encoder = Encoder(loaded, batch_size=int(batch_size))
    preprocessor = Preprocessor(encoder.views, loaded.tokenizer_path)
    encoder.compile()
    values = inputs(modality, Path(photos))
    pair = (modality, "text" if modality == "image" else "image")

    def batch(number: int) -> None:
        places = range(number * encoder.batch_size, (number + 1) * encoder.batch_size)
        chosen = [values[place % len(values)] for place in places]
        if modality == "text":
            arrays = [np.asarray(row) for row in preprocessor.texts([v.text for v in chosen])]
        else:
            arrays = [preprocessor.media(modality, value.image) for value in chosen]
        encoder.embed(modality, np.stack(arrays), pair)

    batch(0)
    began, cpu, number = time.monotonic(), time.process_time(), 0
    while time.monotonic() - began < float(seconds):
        batch(number)
        number += 1
    items = number * encoder.batch_size
    used, wall = time.process_time() - cpu, time.monotonic() - began
    print(json.dumps({"cpu": used / items, "rate": items / wall}))


if __name__ == "__main__":
    main()
