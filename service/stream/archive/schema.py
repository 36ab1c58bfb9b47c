"""The columns of the archive's files, and what a file says of itself."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from service.domain.registry.archive import FileFacts, Span
from service.domain.stream.events import Task, TopicPartition
from service.errors import ArtifactError

FORMAT = 1
TIME = pa.timestamp("ms", tz="UTC")
SAMPLE = 4096
LABEL_BIT = 0
"""Bit 0 of `integers` is the label, bit i + 1 the i-th field of `x`."""

_KEY = b"headrace"


class Kind(StrEnum):
    """What a column of features or labels holds."""

    NUMBER = "number"
    INTEGER = "integer"
    STRING = "string"
    BOOLEAN = "boolean"


ARROW: Mapping[Kind, Any] = {
    Kind.NUMBER: pa.float64(),
    Kind.INTEGER: pa.int64(),
    Kind.STRING: pa.string(),
    Kind.BOOLEAN: pa.bool_(),
}
LABELS: Mapping[Task, Mapping[type, Kind]] = {
    Task.BINARY: {bool: Kind.BOOLEAN},
    Task.MULTICLASS: {str: Kind.STRING, int: Kind.INTEGER, bool: Kind.BOOLEAN},
    Task.REGRESSION: {float: Kind.NUMBER, int: Kind.NUMBER},
}
"""The kinds of label a task has; without any label a file has the first."""

PLAIN: Mapping[str, Any] = {
    "offset": pa.int64(),
    "timestamp": TIME,
    "id_text": pa.string(),
    "id_number": pa.int64(),
    "ts": TIME,
    "y": None,
    "group_text": pa.string(),
    "group_number": pa.int64(),
    "weight": pa.float64(),
    "integers": pa.binary(),
    "nulls": pa.binary(),
    "raw": pa.binary(),
}
DELTAS = ("offset", "timestamp", "ts", "id_number", "group_number")


class _Told(msgspec.Struct):
    """The file's metadata as JSON, under one key."""

    format: int
    topic: str
    partition: int
    first: int
    end: int
    spans: list[tuple[int, int, str]]
    records: int
    newest_ms: int
    source: str = ""


def with_facts(table: Any, facts: FileFacts) -> Any:
    """The table, its schema carrying what the file says of itself."""
    told = _Told(
        FORMAT,
        *facts.at,
        facts.first,
        facts.end,
        [(span.first, span.next, span.mapping) for span in facts.spans],
        facts.records,
        facts.newest_ms,
        facts.source,
    )
    return table.replace_schema_metadata({_KEY: msgspec.json.encode(told)})


def facts_of(schema: Any, name: str) -> FileFacts:
    """What the file says of itself; ArtifactError for a file that is not the archive's."""
    data = (schema.metadata or {}).get(_KEY)
    try:
        told = msgspec.json.decode(data or b"", type=_Told)
    except msgspec.MsgspecError as error:
        msg = f"found {name} without the archive's metadata, expected a file that `headrace archive` wrote"
        raise ArtifactError(msg) from error
    if told.format != FORMAT:
        msg = f"found {name} of archive format {told.format}, expected {FORMAT}; use a newer Headrace"
        raise ArtifactError(msg)
    at, spans = TopicPartition(told.topic, told.partition), [Span(*one) for one in told.spans]
    return FileFacts(at, told.first, told.end, spans, told.records, told.newest_ms, told.source)


def kinds_of(schema: Any) -> dict[str, Kind]:
    """The features of a file in their order."""
    if "x" not in schema.names:
        return {}
    return {field.name: kind_of(field.type) for field in schema.field("x").type}


def kind_of(type_: Any) -> Kind:
    """Return the kind of a column by its type; ArtifactError for a type that no archive of ours has."""
    found = next((kind for kind, arrow in ARROW.items() if arrow == type_), None)
    if found is None:
        msg = f"found a column of {type_}, expected one of {', '.join(map(str, ARROW.values()))}"
        raise ArtifactError(msg)
    return found


def first_label_kind(task: Task) -> Kind:
    """What `y` is where no label was seen."""
    return next(iter(LABELS[task].values()))


def dictionary_columns(table: Any) -> list[str]:
    """Columns that are written as dictionaries, as their values recur; of others one would take more than they do.

    Columns that rise steadily are written as differences. The first rows stand for all of them; where they mislead, the
    writer gives a dictionary up that grows too large.
    """
    few = table.slice(0, SAMPLE)
    columns = {name: few.column(name) for name in PLAIN if name in few.column_names and name not in DELTAS}
    if "x" in few.column_names:
        x = few.column("x").combine_chunks()
        columns |= {f"x.{field.name}": x.field(number) for number, field in enumerate(x.type)}
    return [name for name, column in columns.items() if 2 * pc.count_distinct(column).as_py() <= len(column)]
