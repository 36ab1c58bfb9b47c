"""Training data from the archive: a window without exclusions and duplicates, with labels joined by id."""

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

import polars as pl

from service.domain.registry.archive import LABEL
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import TopicPartition
from service.domain.stream.position import Position
from service.domain.training.archive_piece import RowCounts
from service.errors import TrainingDataError
from service.learning.datasets.dataset import (
    FEATURE_PREFIX,
    GROUP_COLUMNS,
    ID_COLUMNS,
    INTEGER_PREFIX,
    NULL_PREFIX,
    TrainingData,
)
from service.learning.datasets.guarded import admitted_rows
from service.operations.services import Services
from service.operations.training_data.join_labels import id_key, join_labels
from service.operations.training_data.window import (
    BackwardReader,
    EventWindow,
    WindowRequest,
    filter_rows,
    is_excluded,
    partition_ends,
    read_window,
)
from service.ports.archive import ArchiveFrames

FIRST_LOOKUP_ROWS, LOOKUP_GROWTH = 1, 64
_FIXED_COLUMNS = ("topic", "partition", "offset", "ts", "label_ts", *ID_COLUMNS, *GROUP_COLUMNS, "weight", "y")


def load_training_data(services: Services, spec: ModelSpec, request: WindowRequest) -> TrainingData:
    """Return the window's labelled events without the exclusions in force; see `read_training_data`."""
    active_ranges = [one.excluded_range for one in services.registry.exclusions.list(spec.name)]
    return read_training_data(
        services.streams.archive_frames(spec), spec, replace(request, exclusions=[*request.exclusions, *active_ranges])
    )


def read_training_data(frames: ArchiveFrames, spec: ModelSpec, request: WindowRequest) -> TrainingData:
    """Return the window's labelled events, each id once and, unless the window says otherwise, each content once.

    The first of duplicates is kept. Neither events nor labels in excluded ranges are used. Raise BelowStartError where
    the archive begins too late, and TrainingDataError where nothing is left to train on.
    """
    window = read_window(frames, spec, request)
    events = _unique_ids(window.events)
    labels, label_ends = _window_labels(frames, spec, request, window)
    joined = join_labels(events, labels, task=spec.task, ttl_ms=int(spec.label_ttl * 1000))
    table = _typed_columns(joined.table)
    admitted = filter_rows(table, pl.lit(pl.Series(admitted_rows(table, spec.guard, spec.task))))
    kept = _unique_content(admitted) if request.window.duplicates == "content" else admitted
    counts = RowCounts(
        read=window.events.height + window.excluded + window.undecodable,
        excluded=window.excluded,
        undecodable=window.undecodable,
        same_id=window.events.height - events.height,
        late_labels=joined.late,
        missing_labels=joined.missing,
        guarded=table.height - admitted.height,
        same_content=admitted.height - kept.height,
        kept=kept.height,
        repeated_labels=joined.repeated,
        contradicting_labels=joined.contradicting,
    )
    if kept.is_empty():
        raise _nothing_left(spec, counts)
    begin = Position({**_first_event_offsets(window), **_first_label_offsets(labels, events, label_ends.offsets)})
    return TrainingData(spec.task, kept, counts, Position({**window.end.offsets, **label_ends.offsets}), begin)


def first_offsets(rows: pl.DataFrame) -> dict[TopicPartition, int]:
    """Return the smallest offset of each partition."""
    smallest = rows.group_by("topic", "partition").agg(pl.col("offset").min())
    return {TopicPartition(topic, partition): offset for topic, partition, offset in smallest.iter_rows()}


def _first_event_offsets(window: EventWindow) -> dict[TopicPartition, int]:
    """Return the first offset of each partition; a single partition needs no grouping."""
    if len(window.places) > 1:
        return first_offsets(window.events)
    smallest = window.events.get_column("offset").min()
    return dict.fromkeys(window.places, cast("int", smallest))


def _first_label_offsets(
    labels: pl.DataFrame, events: pl.DataFrame, places: Iterable[TopicPartition]
) -> dict[TopicPartition, int]:
    """Return, for each partition of the labels topic, the first offset whose label belongs to one of the events."""
    key = id_key(events, labels).alias("key")
    known = events.select(key).to_series()
    found = {
        at: _first_known_offset(known, filter_rows(labels, pl.col("partition") == at.partition), key) for at in places
    }
    return {at: offset for at, offset in found.items() if offset is not None}


def _first_known_offset(known: pl.Series, part: pl.DataFrame, key: pl.Expr) -> int | None:
    """Return the first offset with a known key; the lookup grows, as mostly the very first row has one."""
    first, count = 0, FIRST_LOOKUP_ROWS
    while first < part.height:
        rows = part.slice(first, count).select("offset", key)
        named = known.filter(known.is_in(rows.get_column("key").implode()))
        if len(named):
            return int(rows.filter(pl.col("key").is_in(named.implode())).item(0, "offset"))
        first, count = first + count, count * LOOKUP_GROWTH
    return None


def _unique_ids(events: pl.DataFrame) -> pl.DataFrame:
    """Keep the first event of each id."""
    keys = events.select(id_key(events)).to_series()
    return events if keys.n_unique() == events.height else events.filter(keys.is_first_distinct())


def _window_labels(
    frames: ArchiveFrames, spec: ModelSpec, request: WindowRequest, window: EventWindow
) -> tuple[pl.DataFrame, Position]:
    """Return the labels that may belong to the window, and where the labels topic ends.

    They lie among the events, or in a topic of their own, which is read as far back as `label_ttl` allows.
    """
    if spec.labels in {None, spec.events}:
        return window.labels, Position()
    ends = partition_ends(frames, [str(spec.labels)], request)
    oldest_ms = int(window.events.item(0, "ts") - spec.label_ttl * 1000)
    pieces = BackwardReader(frames, ends).take(rows=0, since_ms=oldest_ms)
    rows = frames.read(pieces[::-1])
    return filter_rows(rows, (pl.col("kind") == LABEL) & ~is_excluded(request.exclusions)), Position(ends)


def _typed_columns(table: pl.DataFrame) -> pl.DataFrame:
    """Drop features that are never set, and make features of only integers integer columns."""
    columns: list[pl.Expr] = [pl.col(name) for name in _FIXED_COLUMNS]
    for name in (column.removeprefix(FEATURE_PREFIX) for column in table.columns if column.startswith(FEATURE_PREFIX)):
        values = table.get_column(f"{FEATURE_PREFIX}{name}")
        is_null = table.get_column(f"{NULL_PREFIX}{name}") if f"{NULL_PREFIX}{name}" in table.columns else None
        if values.null_count() == len(values) and (is_null is None or not is_null.any()):
            continue
        columns += _feature_columns(
            values, table.get_column(f"{INTEGER_PREFIX}{name}") if values.dtype == pl.Float64 else None
        )
        if is_null is not None and is_null.any():
            columns.append(pl.col(f"{NULL_PREFIX}{name}"))
    return table.select(columns)


def _feature_columns(values: pl.Series, whole: pl.Series | None) -> list[pl.Expr]:
    column = pl.col(values.name)
    count = 0 if whole is None else int(whole.sum())
    if count == 0:
        return [column]
    if count == len(values) - values.null_count():
        return [column.cast(pl.Int64)]
    return [column, pl.col(f"{INTEGER_PREFIX}{values.name.removeprefix(FEATURE_PREFIX)}")]


def _unique_content(table: pl.DataFrame) -> pl.DataFrame:
    """Keep the first event of each combination of features and label; rows with equal hashes are compared in full."""
    content = [name for name in table.columns if name.startswith(FEATURE_PREFIX) or name == "y"]
    hashes = table.select(content).hash_rows()
    if hashes.n_unique() == table.height:
        return table
    suspects = table.select(*content, pl.int_range(pl.len()).alias("row")).filter(~hashes.is_unique())
    kept = suspects.unique(content, keep="first").get_column("row")
    duplicates = set(suspects.get_column("row")) - set(kept)
    return table.filter(~pl.int_range(pl.len()).is_in(list(duplicates)))


def _nothing_left(spec: ModelSpec, counts: RowCounts) -> TrainingDataError:
    counts_text = ", ".join(f"{count} {name}" for name, count in counts.to_json().items() if count)
    labels = f" labels come from {spec.labels}, within label_ttl {spec.label_ttl:g} s;" if spec.labels else ""
    return TrainingDataError(
        f"found no event with its label in the window ({counts_text}), expected some to train on;{labels} "
        f"see `headrace model show {spec.name}` and choose a longer `window`"
    )
