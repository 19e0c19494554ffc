"""Report: one page that shows each dropped example beside the one it is like, and the same as JSON.

The page needs no other file: its pictures are in it.
"""

import base64
import dataclasses
import html
import json
import pathlib
from collections.abc import Sequence

from imp_data.near_duplicates.drops import Drop, Screening, from_json, to_json
from imp_data.stores.atomic import write_file
from imp_data.wording import count

PAGE = "report.html"
_JSON = "report.json"
NUM_SHOWN = 200
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
td, th { border-top: 1px solid #8884; padding: .5rem; text-align: left; vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums }
img { display: block; max-width: 22rem; border: 1px solid #8884 }
.conflict { color: #b30; font-weight: 600 }
small { color: #777; word-break: break-all; display: block }
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """One of a pair: its captions, and a PNG, empty where there is nothing to see."""

    texts: tuple[str, ...]
    png: bytes


def shown(drops: Sequence[Drop]) -> list[Drop]:
    """Those that the page shows: conflicts of labels first, then the least alike, in doubt most."""
    order = sorted(drops, key=lambda d: (not d.label_conflict, d.similarity, d.id))
    return order[:NUM_SHOWN]


def write(
    folder: pathlib.Path,
    screening: Screening,
    pairs: Sequence[tuple[Drop, Side, Side]],
    *,
    num_items: int,
) -> None:
    """Writes the page and, last, the JSON. `pairs`: a drop, how it looks, how its like looks."""
    page = _page(screening, pairs, num_items)
    write_file(folder / PAGE, page.encode("utf-8", "backslashreplace"))
    content = json.dumps({"num_items": num_items, **to_json(screening)}, indent=1)
    write_file(folder / _JSON, content.encode())


def read(folder: pathlib.Path) -> Screening | None:
    """The screening of a finished report; None where there is none."""
    path = folder / _JSON
    return from_json(json.loads(path.read_bytes())) if path.is_file() else None


def _page(screening: Screening, pairs: Sequence[tuple[Drop, Side, Side]], num_items: int) -> str:
    reasons = "".join(
        f'<tr><td class="number">{number}</td><td>{html.escape(reason)}</td></tr>'
        for reason, number in screening.reasons.items()
    )
    where = [*screening.against, *(["the set itself"] if screening.within else [])]
    rows = "".join(_row(*pair) for pair in pairs)
    note = ""
    if len(pairs) < len(screening.drops):
        note = f"{len(pairs)} of them follow, the least alike first; report.json has all."
    more = ""
    if conflicts := screening.num_label_conflicts:
        more += (
            f'<p class="conflict">{count(conflicts, "of them differs", "of them differ")} in label '
            "from the example beside; these come first.</p>"
        )
    if screening.num_held_out:
        more += (
            f"<p>{count(screening.num_held_out, 'such example lies', 'such examples lie')} in "
            "held-out splits and stayed, so that scores stay comparable.</p>"
        )
    alike = ", ".join(
        f"{kind} (alike from {screening.similarity[kind]:g})"
        if kind in screening.similarity
        else kind
        for kind in screening.kinds
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Near duplicates</title><style>{_STYLE}</style>
<h1>{len(screening.drops)} of {count(num_items, "example", "examples")} dropped</h1>
<p>Compared by {html.escape(alike)} with {html.escape(", ".join(where))}.
{note}</p>{more}
<table>{reasons}</table>
<table><tr><th>dropped</th><th>is like</th><th>similarity</th></tr>{rows}</table>
</html>
"""


def _row(drop: Drop, left: Side, right: Side) -> str:
    cells = [
        _cell(drop.id, drop.split, left, drop.labels, drop.label_conflict),
        _cell(drop.like, drop.where or "this set", right, drop.like_labels, drop.label_conflict),
        f'<td class="number">{drop.similarity:.3f}<small>{drop.kind}</small></td>',
    ]
    return f"<tr>{''.join(cells)}</tr>\n"


def _cell(identity: str, place: str, side: Side, labels: Sequence[str], conflict: bool) -> str:
    picture = ""
    if side.png:
        data = base64.b64encode(side.png).decode()
        picture = f'<img alt="" src="data:image/png;base64,{data}">'
    words = "".join(f"<div>{html.escape(text)}</div>" for text in side.texts)
    if labels:
        mark = ' class="conflict"' if conflict else ""
        words += f"<div{mark}>label: {html.escape(', '.join(labels))}</div>"
    return f"<td>{picture}{words}<small>{html.escape(identity)}, {html.escape(place)}</small></td>"
