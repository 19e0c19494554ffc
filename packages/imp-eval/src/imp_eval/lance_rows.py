"""Items as rows of a LanceDB table, and filters as the conditions that LanceDB takes.

Metadata is a JSON column. The names in it carry the kind of their value, "t:folder" or "n:year",
so that a condition on one kind never meets a value of another.
"""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from lancedb.expr import lit

from imp_eval.filters import AllOf, AnyOf, Filter, Not, OneOf, Value, kind_of
from imp_eval.vector_store import Item

# LanceDB refuses that two rows are given the same of this, whoever writes them at the same time.
_KEY = {"lance-schema:unenforced-primary-key": "true"}
_JSON_TYPE = {"text": "string", "number": "float", "flag": "bool"}


def schema_of(dim: int, metadata: Mapping[str, str]) -> pa.Schema:
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False, metadata=_KEY),
            pa.field("vector", pa.list_(pa.float32(), dim)),
            pa.field("metadata", pa.json_()),
        ],
        metadata=dict(metadata),
    )


def rows_of(items: Sequence[Item], dim: int) -> pa.Table:
    vectors = np.concatenate([item.vector for item in items], dtype=np.float32)
    encoded = pa.array([_encode(item.metadata) for item in items], pa.string())
    schema = schema_of(dim, {})
    columns = [
        pa.array([item.id for item in items], pa.string()),
        pa.FixedSizeListArray.from_arrays(pa.array(vectors), dim),
        pa.ExtensionArray.from_storage(pa.json_(), encoded),
    ]
    return pa.table(columns, schema=schema)


def metadata_of(rows: pa.Table) -> list[dict[str, Value]]:
    return [_decode(value) for value in rows["metadata"].to_pylist()]


def condition(where: Filter) -> str:
    """What the user wrote is in it as literals alone, quoted by LanceDB itself."""
    match where:
        case OneOf(field=field, values=values):
            chosen = ", ".join(_literal(value) for value in values)
            return f"coalesce({_get(field, values[0])} IN ({chosen}), false)"
        case AllOf(parts=parts):
            return "(" + " AND ".join(condition(part) for part in parts) + ")"
        case AnyOf(parts=parts):
            return "(" + " OR ".join(condition(part) for part in parts) + ")"
        case Not(part=part):
            return f"(NOT {condition(part)})"
    tests = [
        f"coalesce({_get(where.field, bound)} {sign} {_literal(bound)}, false)"
        for sign, bound in where.bounds.items()
    ]
    return "(" + " AND ".join(tests) + ")"


def ids_condition(ids: Sequence[str]) -> str:
    return f"id IN ({', '.join(_literal(key) for key in ids)})"


def after_condition(key: str) -> str:
    return f"id > {_literal(key)}"


def _get(field: str, value: Value) -> str:
    kind = kind_of(value)
    return f"json_get_{_JSON_TYPE[kind]}(metadata, {_literal(_stored_name(field, kind))})"


def _literal(value: Value) -> str:
    return lit(float(value) if kind_of(value) == "number" else value).to_sql()


def _stored_name(field: str, kind: str) -> str:
    return f"{kind[0]}:{field}"


def _encode(metadata: Mapping[str, Value]) -> str:
    return json.dumps({_stored_name(key, kind_of(value)): value for key, value in metadata.items()})


def _decode(encoded: str) -> dict[str, Value]:
    return {
        name[2:]: float(value) if name[0] == "n" else value
        for name, value in json.loads(encoded).items()
    }
