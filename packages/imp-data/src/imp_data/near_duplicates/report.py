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

PAGE = "report.html"
_JSON = "report.json"
NUM_SHOWN = 200
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
td, th { border-top: 1px solid #8884; padding: .5rem; text-align: left; vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums }
img { display: block; max-width: 22rem; border: 1px solid #8884 }
small { color: #777; word-break: break-all; display: block }
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """One of a pair: its captions, and a PNG, empty where there is nothing to see."""

    texts: tuple[str, ...]
    png: bytes


def shown(drops: Sequence[Drop]) -> list[Drop]:
    """Those that the page shows: the least alike first, as a reader doubts these most."""
    return sorted(drops, key=lambda drop: (drop.similarity, drop.id))[:NUM_SHOWN]


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
        f'<tr><td class="number">{count}</td><td>{html.escape(reason)}</td></tr>'
        for reason, count in screening.reasons.items()
    )
    where = [*screening.against, *(["the set itself"] if screening.within else [])]
    rows = "".join(_row(*pair) for pair in pairs)
    note = ""
    if len(pairs) < len(screening.drops):
        note = f"The {len(pairs)} least alike of them follow; report.json has all."
    held_out = ""
    if screening.num_held_out:
        held_out = (
            f"<p>{screening.num_held_out} more pairs lie in held-out splits and were left, so that "
            "scores stay comparable.</p>"
        )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Near duplicates</title><style>{_STYLE}</style>
<h1>{len(screening.drops)} of {num_items} examples dropped</h1>
<p>Compared by {html.escape(", ".join(screening.kinds))} with {html.escape(", ".join(where))}.
{note}</p>{held_out}
<table>{reasons}</table>
<table><tr><th>dropped</th><th>is like</th><th>similarity</th></tr>{rows}</table>
</html>
"""


def _row(drop: Drop, left: Side, right: Side) -> str:
    cells = [
        _cell(drop.id, drop.split, left),
        _cell(drop.like, drop.where or "this set", right),
        f'<td class="number">{drop.similarity:.3f}<small>{drop.kind}</small></td>',
    ]
    return f"<tr>{''.join(cells)}</tr>\n"


def _cell(identity: str, place: str, side: Side) -> str:
    picture = ""
    if side.png:
        data = base64.b64encode(side.png).decode()
        picture = f'<img alt="" src="data:image/png;base64,{data}">'
    words = "".join(f"<div>{html.escape(text)}</div>" for text in side.texts)
    return f"<td>{picture}{words}<small>{html.escape(identity)}, {html.escape(place)}</small></td>"
