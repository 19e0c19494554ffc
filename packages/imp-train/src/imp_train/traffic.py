"""Traffic: what a compiled program sends from chip to chip, read off its HLO text."""

import dataclasses
import math
import re
from collections import defaultdict

_OPERATION = re.compile(
    r"^\s+(?:ROOT )?%?[\w.\-]+ = (?P<shape>\(.*?\)|\S+) "
    r"(?P<kind>all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)"
    r"(?P<start>-start)?\((?P<rest>.*)$"
)
_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\]")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4}
_BYTES |= {"s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8}
_KNOWN_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CONDITION = re.compile(r"condition=%?([\w.\-]+)")
_LIMIT = re.compile(r"ROOT \S+ = pred\[\]\S* compare\(\S+, (%[\w.\-]+)\), direction=LT")
_CALLED = re.compile(
    r"\b(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_GROUPS = re.compile(r"replica_groups=(?:\{\{([\d,]*)\}|\[\d+,(\d+)\])")


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Of one kind of exchange in one run of a program: how often, and bytes that a chip sends."""

    count: int
    bytes: float


def traffic(hlo: str) -> dict[str, Traffic]:
    """By kind ("all-to-all", …). What lies in a loop counts once a trip.

    Raises ValueError for a loop with exchanges whose trips the compiler does not tell.
    """
    bodies = _computations(hlo)
    found: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))

    def visit(name: str, times: int) -> None:
        for line in bodies[name]:
            if operation := _OPERATION.match(line):
                kind = operation["kind"]
                count, total = found[kind]
                found[kind] = (count + times, total + times * _sent(operation, line))
                continue
            for inner in _called(line):
                if exchanging.get(inner):
                    visit(inner, times * _trips(line, inner, bodies))

    exchanging = _exchanging(bodies)
    visit("ENTRY", 1)
    return {kind: Traffic(count, total) for kind, (count, total) in sorted(found.items())}


def _computations(hlo: str) -> dict[str, list[str]]:
    """Each computation's lines; the one that is run is called ENTRY."""
    bodies: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for line in hlo.splitlines():
        if line and not line[0].isspace() and line.endswith("{") and "(" in line:
            entry = line.startswith("ENTRY ")
            name = line.removeprefix("ENTRY ").lstrip("%").split(" ", 1)[0].split("(")[0]
            lines = bodies.setdefault("ENTRY" if entry else name, [])
        elif line.startswith("}"):
            lines = None
        elif lines is not None:
            lines.append(line)
    return bodies


def _exchanging(bodies: dict[str, list[str]]) -> dict[str, bool]:
    """Whether a computation, or one that it calls, exchanges anything."""
    known: dict[str, bool] = {}

    def ask(name: str) -> bool:
        if name not in known:
            known[name] = False
            known[name] = any(
                _OPERATION.match(line)
                or any(inner in bodies and ask(inner) for inner in _called(line))
                for line in bodies[name]
            )
        return known[name]

    return {name: ask(name) for name in bodies}


def _called(line: str) -> list[str]:
    called: list[str] = _CALLED.findall(line)
    for group in _BRANCHES.findall(line):
        called += [name.strip(" %") for name in group.split(",")]
    return called


def _trips(line: str, body: str, bodies: dict[str, list[str]]) -> int:
    """How often an operation runs what it calls: once, but for a loop."""
    if " while(" not in line:
        return 1
    if known := _KNOWN_TRIPS.search(line):
        return int(known[1])
    # Some compilers leave it to be read: JAX's loops count from 0 while less than a constant.
    condition = _CONDITION.search(line)
    lines = "\n".join(bodies[condition[1]]) if condition else ""
    if limit := _LIMIT.search(lines):
        name = re.escape(limit[1])
        if constant := re.search(rf"{name} = s32\[\]\S* constant\((\d+)\)", lines):
            return int(constant[1])
    raise ValueError(f"the loop {body} exchanges, but how often is not known")


def _sent(operation: re.Match[str], line: str) -> float:
    """Bytes that a chip sends in rings, of the arrays' sizes on one chip."""
    arrays = [
        _BYTES.get(dtype, 4) * math.prod(int(n) for n in dims.split(",") if n)
        for dtype, dims in _ARRAY.findall(operation["shape"])
    ]
    # What has begun says its operands beside its results, and some counters.
    size = float(max(arrays) if operation["start"] else sum(arrays))
    groups = _GROUPS.search(line)
    members = 2
    if groups:
        members = int(groups[2]) if groups[2] else len(groups[1].split(","))
    share = (members - 1) / members
    return {
        "all-gather": size * share,
        "all-reduce": 2 * size * share,
        # Its result is a member's part of what is sent around.
        "reduce-scatter": size * (members - 1),
        "all-to-all": size * share,
        "collective-permute": size,
    }[operation["kind"]]
