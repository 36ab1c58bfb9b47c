"""The columns of the archive's files, and the metadata that each file carries."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from service.domain.registry.archive import ArchivedSpan, ArchiveFileInfo
from service.domain.stream.events import Task, TopicPartition
from service.errors import ArtifactError

FORMAT_VERSION = 1
TIME_TYPE = pa.timestamp("ms", tz="UTC")
SAMPLE_ROWS = 4096
LABEL_BIT = 0
"""Bit 0 of `integers` is the label, bit i + 1 the i-th field of `x`."""

_KEY = b"headrace"


class ColumnKind(StrEnum):
    """The kind of values in a column of features or labels."""

    NUMBER = "number"
    INTEGER = "integer"
    STRING = "string"
    BOOLEAN = "boolean"


ARROW_TYPES: Mapping[ColumnKind, Any] = {
    ColumnKind.NUMBER: pa.float64(),
    ColumnKind.INTEGER: pa.int64(),
    ColumnKind.STRING: pa.string(),
    ColumnKind.BOOLEAN: pa.bool_(),
}
LABEL_KINDS: Mapping[Task, Mapping[type, ColumnKind]] = {
    Task.BINARY: {bool: ColumnKind.BOOLEAN},
    Task.MULTICLASS: {str: ColumnKind.STRING, int: ColumnKind.INTEGER, bool: ColumnKind.BOOLEAN},
    Task.REGRESSION: {float: ColumnKind.NUMBER, int: ColumnKind.NUMBER},
}
"""The label kinds that each task allows; a file without any label uses the first."""

BASE_COLUMNS: Mapping[str, Any] = {
    "offset": pa.int64(),
    "timestamp": TIME_TYPE,
    "id_text": pa.string(),
    "id_number": pa.int64(),
    "ts": TIME_TYPE,
    "y": None,
    "group_text": pa.string(),
    "group_number": pa.int64(),
    "weight": pa.float64(),
    "integers": pa.binary(),
    "nulls": pa.binary(),
    "raw": pa.binary(),
}
DELTA_COLUMNS = ("offset", "timestamp", "ts", "id_number", "group_number")


class _FileMetadata(msgspec.Struct):
    """The file's metadata, stored as JSON under one key."""

    format: int
    topic: str
    partition: int
    first: int
    end: int
    spans: list[tuple[int, int, str]]
    records: int
    newest_ms: int
    source: str = ""


def with_file_info(table: Any, file_info: ArchiveFileInfo) -> Any:
    """Return the table with the file's metadata in its schema."""
    metadata = _FileMetadata(
        FORMAT_VERSION,
        *file_info.at,
        file_info.first,
        file_info.end,
        [(span.first, span.next, span.mapping) for span in file_info.spans],
        file_info.records,
        file_info.newest_ms,
        file_info.source,
    )
    return table.replace_schema_metadata({_KEY: msgspec.json.encode(metadata)})


def read_file_info(schema: Any, name: str) -> ArchiveFileInfo:
    """Return the file's metadata; raise ArtifactError for a file that `headrace archive` did not write."""
    data = (schema.metadata or {}).get(_KEY)
    try:
        metadata = msgspec.json.decode(data or b"", type=_FileMetadata)
    except msgspec.MsgspecError as error:
        msg = f"found {name} without the archive's metadata, expected a file that `headrace archive` wrote"
        raise ArtifactError(msg) from error
    if metadata.format != FORMAT_VERSION:
        msg = f"found {name} of archive format {metadata.format}, expected {FORMAT_VERSION}; use a newer Headrace"
        raise ArtifactError(msg)
    at, spans = TopicPartition(metadata.topic, metadata.partition), [ArchivedSpan(*one) for one in metadata.spans]
    return ArchiveFileInfo(
        at, metadata.first, metadata.end, spans, metadata.records, metadata.newest_ms, metadata.source
    )


def feature_kinds(schema: Any) -> dict[str, ColumnKind]:
    """Return the kinds of a file's features, in their order."""
    if "x" not in schema.names:
        return {}
    return {field.name: column_kind(field.type) for field in schema.field("x").type}


def column_kind(type_: Any) -> ColumnKind:
    """Return the kind of a column by its Arrow type; raise ArtifactError for a type that the archive does not use."""
    found = next((kind for kind, arrow in ARROW_TYPES.items() if arrow == type_), None)
    if found is None:
        msg = f"found a column of {type_}, expected one of {', '.join(map(str, ARROW_TYPES.values()))}"
        raise ArtifactError(msg)
    return found


def default_label_kind(task: Task) -> ColumnKind:
    """Return the kind of `y` when no label was seen."""
    return next(iter(LABEL_KINDS[task].values()))


def dictionary_columns(table: Any) -> list[str]:
    """Return the columns to write with a dictionary: those whose values recur, by a sample of the first rows.

    For other columns a dictionary would take more space. Steadily rising columns are written as differences instead. If
    the sample misleads, the Parquet writer drops a dictionary that grows too large.
    """
    few = table.slice(0, SAMPLE_ROWS)
    columns = {
        name: few.column(name) for name in BASE_COLUMNS if name in few.column_names and name not in DELTA_COLUMNS
    }
    if "x" in few.column_names:
        x = few.column("x").combine_chunks()
        columns |= {f"x.{field.name}": x.field(number) for number, field in enumerate(x.type)}
    return [name for name, column in columns.items() if 2 * pc.count_distinct(column).as_py() <= len(column)]
