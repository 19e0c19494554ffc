"""What was measured: rows that are printed as they come, one table, one JSON file."""

import dataclasses
import json
import math
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SCHEMA = 1
_HEAD = "| section | what | value | aim | met |\n|---|---|---|---|---|"


@dataclasses.dataclass(kw_only=True)
class Row:
    what: str
    value: float | str
    unit: str = ""
    aim: str = ""
    met: bool | None = None
    detail: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(kw_only=True)
class Section:
    """`status` is running, ok, failed, skipped (`error` says why), or cut by the end of the time.

    `compile_seconds` are part of `seconds`."""

    name: str
    status: str = "running"
    seconds: float = 0.0
    compile_seconds: float = 0.0
    error: dict[str, str] | None = None
    rows: list[Row] = dataclasses.field(default_factory=list)


class Skipped(Exception):  # noqa: N818 (nothing is wrong)
    """Raised by a section that has nothing to measure here."""


class Report:
    """Kept on disk row by row, so that what ends the process loses nothing that was measured."""

    def __init__(self, out: Path | None, about: dict[str, Any], minutes: float) -> None:
        self.about = about
        self.sections: list[Section] = []
        self._out = out
        self._began = time.monotonic()
        self._end = self._began + 60 * minutes
        # The clock's thread may finish the report while a section writes to it.
        self._lock = threading.RLock()

    @property
    def left(self) -> float:
        """Seconds."""
        return self._end - time.monotonic()

    @property
    def sound(self) -> bool:
        return all(section.status in ("ok", "skipped") for section in self.sections)

    def run(self, name: str, body: Callable[[], None], *, needs: float = 0.0) -> None:
        """A section, if as many seconds are left as it `needs`. What `body` raises is recorded, and
        ends this section alone."""
        section = Section(name=name)
        with self._lock:
            self.sections.append(section)
        print(f"\n## {name} ({self.left:.0f} s left)", flush=True)
        began = time.monotonic()
        try:
            if self.left < needs:
                raise Skipped(f"it takes some {needs:.0f} s, and {self.left:.0f} s are left")
            body()
            section.status = "ok"
        except Skipped as reason:
            section.status = "skipped"
            section.error = {"type": "Skipped", "message": str(reason), "traceback": ""}
            print(f"skipped: {reason}", flush=True)
        # The boundary: whatever breaks one section must not lose the others.
        except Exception as error:  # noqa: BLE001
            text = traceback.format_exc()
            message = str(error).strip()[:2000]
            section.status = "failed"
            section.error = {
                "type": type(error).__name__,
                "message": message,
                # The end names the place; XLA's messages can be megabytes.
                "traceback": text[-8000:],
            }
            print(f"FAILED\n{text[-3000:]}", flush=True)
        section.seconds = time.monotonic() - began
        self.write()

    def row(
        self,
        what: str,
        value: float | str,
        unit: str = "",
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        aim: str = "",
        met: bool | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """In the section that runs; printed at once."""
        if isinstance(value, float | int):
            if at_least is not None:
                aim, met = f">= {_figure(at_least, unit)}", value >= at_least
            elif at_most is not None:
                aim, met = f"<= {_figure(at_most, unit)}", value <= at_most
        row = Row(what=what, value=value, unit=unit, aim=aim, met=met, detail=dict(detail or {}))
        with self._lock:
            section = self.sections[-1]
            section.rows.append(row)
        print(_line(section, row), flush=True)
        self.write()

    def table(self) -> str:
        lines = [_HEAD]
        for section in self.sections:
            lines += [_line(section, row) for row in section.rows]
            if section.status != "ok":
                first = (section.error or {}).get("message", "").splitlines()[:1]
                said = "".join(first).replace("|", "/")[:200]
                lines.append(f"| {section.name} | {section.status} | {said} | | |")
        return "\n".join(lines)

    def write(self) -> None:
        if self._out is None:
            return
        with self._lock:
            value = {
                "schema": SCHEMA,
                "about": self.about,
                "seconds": time.monotonic() - self._began,
                "sections": [dataclasses.asdict(section) for section in self.sections],
            }
            text = json.dumps(_finite(value), indent=1, default=str)
            self._out.parent.mkdir(parents=True, exist_ok=True)
            new = self._out.with_name(self._out.name + ".new")
            new.write_text(text + "\n", encoding="utf-8")
            os.replace(new, self._out)

    def finish(self) -> None:
        with self._lock:
            for section in self.sections:
                if section.status == "running":
                    section.status = "cut"
                    section.error = {"type": "Cut", "message": "the time ended", "traceback": ""}
            self.write()
            print(f"\n{self.table()}", flush=True)


def _line(section: Section, row: Row) -> str:
    met = {None: "", True: "yes", False: "NO"}[row.met]
    value = row.value if isinstance(row.value, str) else _figure(row.value, row.unit)
    return f"| {section.name} | {row.what} | {value} | {row.aim} | {met} |"


def _figure(value: float, unit: str) -> str:
    if unit == "%":
        return f"{100 * value:.1f} %"
    text = f"{value:,.0f}" if abs(value) >= 1000 or float(value).is_integer() else f"{value:.3g}"
    return f"{text} {unit}".rstrip()


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list) else value
