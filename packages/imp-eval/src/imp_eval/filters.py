"""Filters: which items count, by their metadata. Stores translate them to their own languages.

Two-valued: a comparison with a field that an item lacks, or has of another kind, is false, and its
`Not` true. Text is ordered by code point.
"""

import dataclasses
from collections.abc import Mapping
from typing import TypeAlias

from imp_proto.v1 import retrieval_pb2

# A field's text, number, or truth.
Value: TypeAlias = str | float | bool

_MAX_DEPTH = 8
_MAX_NODES = 256
_MAX_VALUES = 1000
_MAX_FIELD_CHARS = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneOf:
    """The field equals one of `values`, which are of one kind and at least one."""

    field: str
    values: tuple[Value, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range:
    """The field lies within the bounds that are given, all texts or all numbers."""

    field: str
    at_least: str | float | None = None
    above: str | float | None = None
    at_most: str | float | None = None
    below: str | float | None = None

    @property
    def bounds(self) -> dict[str, str | float]:
        """By operator: >=, >, <=, <."""
        given = {">=": self.at_least, ">": self.above, "<=": self.at_most, "<": self.below}
        return {sign: bound for sign, bound in given.items() if bound is not None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AllOf:
    parts: tuple["Filter", ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnyOf:
    parts: tuple["Filter", ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Not:
    part: "Filter"


Filter: TypeAlias = OneOf | Range | AllOf | AnyOf | Not


def kind_of(value: Value) -> str:
    """text, number or flag."""
    if isinstance(value, bool):
        return "flag"
    return "text" if isinstance(value, str) else "number"


def value_of(message: retrieval_pb2.Value, what: str) -> Value:
    """Raises ValueError, naming `what`, for an empty value or a number that is not finite."""
    kind = message.WhichOneof("kind")
    if kind is None:
        raise ValueError(f"{what} is empty; set one of text, number, flag")
    value: Value = getattr(message, kind)
    if kind == "number" and not abs(float(value)) < float("inf"):
        raise ValueError(f"{what} is {value}; numbers must be finite")
    return value


def to_value(value: Value) -> retrieval_pb2.Value:
    message = retrieval_pb2.Value()
    setattr(message, kind_of(value), value)
    return message


def of(message: retrieval_pb2.Filter) -> Filter:
    """Raises ValueError for one that is empty, makes no sense or is too big."""
    _check_size(message)
    return _of(message)


def where(fields: Mapping[str, Value]) -> retrieval_pb2.Filter:
    """The message for "every one of these fields has this value"."""
    parts = [
        retrieval_pb2.Filter(one_of=retrieval_pb2.OneOf(field=key, values=[to_value(value)]))
        for key, value in fields.items()
    ]
    return retrieval_pb2.Filter(all_of=retrieval_pb2.Filters(parts=parts))


def _check_size(message: retrieval_pb2.Filter) -> None:
    level, nodes, depth = [message], 0, 0
    while level:
        depth += 1
        nodes += len(level)
        if depth > _MAX_DEPTH:
            raise ValueError(f"the filter nests deeper than {_MAX_DEPTH} levels")
        if nodes > _MAX_NODES:
            raise ValueError(f"the filter has more than {_MAX_NODES} parts")
        level = [part for parent in level for part in _parts(parent)]


def _parts(message: retrieval_pb2.Filter) -> list[retrieval_pb2.Filter]:
    match message.WhichOneof("test"):
        case "all_of":
            return list(message.all_of.parts)
        case "any_of":
            return list(message.any_of.parts)
        case "negated":
            return [message.negated]
        case _:
            return []


def _of(message: retrieval_pb2.Filter) -> Filter:
    match test := message.WhichOneof("test"):
        case "one_of":
            return _one_of(message.one_of)
        case "range":
            return _range(message.range)
        case "negated":
            return Not(part=_of(message.negated))
        case "all_of" | "any_of":
            parts = tuple(_of(part) for part in _parts(message))
            if not parts:
                raise ValueError(f"a filter's {test} has no parts; give at least one")
            return AllOf(parts=parts) if test == "all_of" else AnyOf(parts=parts)
        case _:
            raise ValueError(
                "the filter, or a part of it, is empty; set one_of, range, all_of, ..."
            )


def _one_of(message: retrieval_pb2.OneOf) -> OneOf:
    field = check_field(message.field)
    what = f"a value of the filter on {field!r}"
    values = tuple(value_of(value, what) for value in message.values)
    if not 1 <= len(values) <= _MAX_VALUES:
        raise ValueError(
            f"the filter on {field!r} has {len(values)} values; give 1 to {_MAX_VALUES}"
        )
    if len(kinds := {kind_of(value) for value in values}) > 1:
        raise ValueError(f"the filter on {field!r} mixes {' and '.join(sorted(kinds))}")
    return OneOf(field=field, values=values)


def _range(message: retrieval_pb2.Range) -> Range:
    field = check_field(message.field)
    bounds: dict[str, str | float] = {}
    for name in ("at_least", "above", "at_most", "below"):
        if message.HasField(name):
            bound = value_of(getattr(message, name), f"{name} of the filter on {field!r}")
            if isinstance(bound, bool):
                raise ValueError(f"{name} of the filter on {field!r} is a flag, which has no order")
            bounds[name] = bound
    if not bounds:
        raise ValueError(f"the range filter on {field!r} has no bounds; give at least one")
    if len(kinds := {kind_of(bound) for bound in bounds.values()}) > 1:
        raise ValueError(f"the filter on {field!r} mixes {' and '.join(sorted(kinds))}")
    return Range(field=field, **bounds)


def check_field(name: str) -> str:
    """The name. Raises ValueError for one that no item's metadata may have."""
    if not 1 <= len(name) <= _MAX_FIELD_CHARS or not name.isprintable():
        raise ValueError(
            f"a field's name has 1 to {_MAX_FIELD_CHARS} printable characters, not {name[:40]!r}"
        )
    return name
