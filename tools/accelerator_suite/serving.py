"""Embeddings a second of the encoder that the service runs, its arrays coming from the host."""

import statistics

import numpy as np

from accelerator_suite import timing
from accelerator_suite.suite import PAIR, Suite
from imp_data.views import ImageView, TextView, View, to_json
from imp_eval.inference import Encoder
from imp_model.bundle import Bundle
from imp_model.costs import forward_flops


def throughput(suite: Suite) -> None:
    """imp-moe with random weights: full batches, one after the other, no decoding and no gRPC."""
    shapes = suite.shapes
    model = suite.model("moe")
    views: dict[str, View] = {
        "image": ImageView(size=shapes.knobs.image),
        "text": TextView(length=shapes.text),
    }
    bundle = Bundle(
        config=model.config,
        model=model,
        pairs=(PAIR,),
        classifiers={},
        views={name: to_json(view) for name, view in views.items()},
        tokenizer_path=None,
        metadata={},
        digest="random",
    )
    size = shapes.serving_batch
    encoder = Encoder(bundle, batch_size=size, text_lengths=())
    draws = {
        "image": suite.images(size, shapes.knobs.image),
        "text": suite.texts(size, shapes.text),
    }
    for modality, pair in (("image", PAIR), ("text", PAIR[::-1])):
        arrays = draws[modality]
        arm = timing.of(encoder.embed, modality, arrays, pair)
        # The first compiles.
        suite.report.sections[-1].compile_seconds += arm.seconds(1)
        seconds = suite.median(arm)
        suite.report.row(f"{modality}s embedded, batches of {size}", size / seconds, "/s")
        if suite.rate is not None:
            flops = size * forward_flops(model.config, modality, views[modality].shape)
            suite.report.row(f"{modality}: MFU", flops / seconds / suite.rate, "%")
        one = [arm.seconds(1) for _ in range(20)]
        suite.report.row(
            f"{modality}: one batch, p50",
            1e3 * statistics.median(one),
            "ms",
            detail={"p95": 1e3 * float(np.percentile(one, 95))},
        )
