"""report.html: one self-contained page; curves, experts, tables, and what was retrieved."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from imp_data import media
from imp_data.stores.atomic import write_file
from imp_data.views import AudioView, ImageView, VideoView
from imp_train import metrics, plots
from quickstart.score import Results, Shown

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1080px;padding:0 1rem;
 color:#1c2330}
h1{font-size:1.6rem} h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid #dde2ea}
table{border-collapse:collapse} td:first-child,th:first-child{text-align:left}
td,th{padding:.2rem .8rem;text-align:right;border-bottom:1px solid #eef}
.good{color:#0a7d38;font-weight:600} .small{color:#667} svg{max-width:100%;height:auto}
.query{display:flex;gap:.5rem;align-items:center;margin:.5rem 0}
.query b{width:230px;font-weight:500}
.query img{width:88px;height:88px;object-fit:cover;border-radius:6px;border:3px solid #e3e7ee}
.query img.hit{border-color:#1c9c52}
"""


def write(path: Path, content: Mapping[str, Any], results: Results, run: Path) -> None:
    """The whole page or nothing."""
    records = metrics.read(run)
    model, seconds = content["model"], content["seconds"]
    body = [
        "<h1>IMP quickstart</h1>",
        f"<p>One encoder of {model['parameters'] / 1e6:.2f} M parameters (width {model['width']}, "
        f"{model['num_dense_layers']} dense and {model['num_moe_layers']} MoE layers of "
        f"{model['num_experts']} experts) trained {model['steps']} steps by alternating gradient "
        f"descent on {len({t['name'] for t in content['tasks']})} tasks, seed {model['seed']}. "
        "Every figure below is of held-out files, embedded through the gRPC service.</p>",
        "<h2>Held-out benchmarks</h2>",
        _eval_table(content["eval"]),
        "<h2>Retrieval gallery</h2>",
        '<p class="small">Best six of the held-out files; a green frame is a right answer.</p>',
        *(_query(shown) for shown in results.gallery),
        "<h2>Loss by task</h2>",
        _svg(plots.losses(records)),
        "<h2>Expert load by modality</h2>",
        '<p class="small">Share of the gate weight that each expert takes, last MoE layer, mean '
        "over the last steps.</p>",
        _svg(plots.experts(records, last_layer_alone=True)),
        "<h2>Tasks</h2>",
        _task_table(content["tasks"]),
        "<h2>Seconds</h2>",
        "<p>" + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items()) + "</p>",
    ]
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>IMP quickstart</title>'
        f"<style>{_STYLE}</style><body>{''.join(body)}</body></html>"
    )
    write_file(path, page.encode())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{h}</th>' for h in head)}</tr>{cells}</table>"


def _eval_table(rows: Sequence[Mapping[str, Any]]) -> str:
    def value(row: Mapping[str, Any]) -> str:
        style = ' class="good"' if row["value"] > 2 * row["chance"] else ""
        return f"<span{style}>{row['value']:.3f}</span>"

    return _table(
        ("benchmark", "query", "metric", "value", "chance", "n"),
        (
            (
                html.escape(row["benchmark"]),
                row["modality"],
                row["metric"],
                value(row),
                f"{row['chance']:.3f}",
                str(row["n"]),
            )
            for row in rows
        ),
    )


def _task_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return _table(
        ("task", "objective", "modalities", "variant", "steps", "first loss", "last loss"),
        (
            (
                html.escape(row["name"]),
                row["objective"],
                ", ".join(row["modalities"]),
                row["variant"],
                str(row["steps"]),
                f"{row['loss_first']:.3f}",
                f"{row['loss_last']:.3f}",
            )
            for row in rows
        ),
    )


def _query(shown: Shown) -> str:
    label = html.escape(shown.title)
    if isinstance(shown.query, str):
        label += f"<br>“{html.escape(shown.query)}”"
    else:
        label += f'<br><img src="{_thumbnail(shown.query, sound=True)}" alt="spectrogram">'
    images = "".join(
        f'<img{" class=hit" if right else ""} src="{_thumbnail(path)}" '
        f'alt="{html.escape(path.stem)}" title="{html.escape(path.stem)}">'
        for path, right in shown.found
    )
    return f'<div class="query"><b>{label}</b>{images}</div>'


def _thumbnail(path: Path, *, sound: bool = False) -> str:
    """A data URI: the picture, a clip's middle frame, or a sound's spectrogram."""
    data = path.read_bytes()
    if sound:
        levels = media.load(data, AudioView(frames=32)).T[::-1]
        scaled = (levels - levels.min()) / max(float(np.ptp(levels)), 1e-6)
        pixels = (matplotlib.colormaps["magma"](scaled)[..., :3] * 255).astype(np.uint8)
        pixels = pixels.repeat(4, axis=1)
    elif path.suffix == ".mp4":
        pixels = media.load(data, VideoView(frames=16, size=96, fps=8.0))[8]
    else:
        pixels = media.load(data, ImageView(size=96))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _svg(figure: Figure | None) -> str:
    if figure is None:
        return "<p>The model is dense.</p>"
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
