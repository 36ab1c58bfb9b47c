"""Labelled training data from the archive: a window, without exclusions and duplicates, labels joined by id."""

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
from service.learning.datasets.dataset import FEATURE, GROUPS, IDS, NULL, WHOLE, TrainingData
from service.learning.datasets.guarded import guarded
from service.operations.services import Services
from service.operations.training_data.join_labels import join_labels, key_of
from service.operations.training_data.window import Ask, Backwards, Window, chosen, ends_of, excluded, read_window
from service.ports.archive import ArchiveFrames

FEW, MORE = 1, 64
_PLAIN = ("topic", "partition", "offset", "ts", "label_ts", *IDS, *GROUPS, "weight", "y")


def training_data(services: Services, spec: ModelSpec, ask: Ask) -> TrainingData:
    """As `load`, with the exclusions that are in force."""
    in_force = [one.stretch for one in services.exclusions.list(spec.name)]
    return load(services.frames(spec), spec, replace(ask, exclusions=[*ask.exclusions, *in_force]))


def load(frames: ArchiveFrames, spec: ModelSpec, ask: Ask) -> TrainingData:
    """The window's labelled events, each id and, unless the window says otherwise, each content once.

    BelowStartError where the archive begins too late, TrainingDataError where nothing is left to train on. Of
    duplicates the first is kept. Of what is excluded, neither events nor labels are seen.
    """
    window = read_window(frames, spec, ask)
    events = _once(window.events)
    labels, ends = _labels(frames, spec, ask, window)
    joined = join_labels(events, labels, task=spec.task, ttl_ms=int(spec.label_ttl * 1000))
    table = _typed(joined.table)
    admitted = chosen(table, pl.lit(pl.Series(guarded(table, spec.guard, spec.task))))
    kept = _distinct(admitted) if ask.window.duplicates == "content" else admitted
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
    begin = Position({**_first_events(window), **_first_labels(labels, events, ends.offsets)})
    return TrainingData(spec.task, kept, counts, Position({**window.end.offsets, **ends.offsets}), begin)


def firsts(rows: pl.DataFrame) -> dict[TopicPartition, int]:
    """The first offset of each partition."""
    least = rows.group_by("topic", "partition").agg(pl.col("offset").min())
    return {TopicPartition(topic, partition): offset for topic, partition, offset in least.iter_rows()}


def _first_events(window: Window) -> dict[TopicPartition, int]:
    """Of each partition; where there is one, nothing needs to be grouped."""
    if len(window.places) > 1:
        return firsts(window.events)
    least = window.events.get_column("offset").min()
    return dict.fromkeys(window.places, cast("int", least))


def _first_labels(
    labels: pl.DataFrame, events: pl.DataFrame, places: Iterable[TopicPartition]
) -> dict[TopicPartition, int]:
    """Of each partition of a topic of labels the first offset that names one of these events."""
    key = key_of(events, labels).alias("key")
    known = events.select(key).to_series()
    found = {at: _first_of(known, chosen(labels, pl.col("partition") == at.partition), key) for at in places}
    return {at: offset for at, offset in found.items() if offset is not None}


def _first_of(known: pl.Series, part: pl.DataFrame, key: pl.Expr) -> int | None:
    """The first offset with a known key; looks at more and more rows, since mostly the very first have one."""
    first, count = 0, FEW
    while first < part.height:
        some = part.slice(first, count).select("offset", key)
        named = known.filter(known.is_in(some.get_column("key").implode()))
        if len(named):
            return int(some.filter(pl.col("key").is_in(named.implode())).item(0, "offset"))
        first, count = first + count, count * MORE
    return None


def _once(events: pl.DataFrame) -> pl.DataFrame:
    """Each id at its first event."""
    keys = events.select(key_of(events)).to_series()
    return events if keys.n_unique() == events.height else events.filter(keys.is_first_distinct())


def _labels(frames: ArchiveFrames, spec: ModelSpec, ask: Ask, window: Window) -> tuple[pl.DataFrame, Position]:
    """Those between the events; or of their own topic, as far back as one can still belong to the window."""
    if spec.labels in {None, spec.events}:
        return window.labels, Position()
    ends = ends_of(frames, [str(spec.labels)], ask)
    oldest_ms = int(window.events.item(0, "ts") - spec.label_ttl * 1000)
    pieces = Backwards(frames, ends).take(rows=0, since_ms=oldest_ms)
    rows = frames.read(pieces[::-1])
    return chosen(rows, (pl.col("kind") == LABEL) & ~excluded(ask.exclusions)), Position(ends)


def _typed(table: pl.DataFrame) -> pl.DataFrame:
    """Only columns that say something; numbers are integers where all of a feature's are."""
    columns: list[pl.Expr] = [pl.col(name) for name in _PLAIN]
    for name in (column.removeprefix(FEATURE) for column in table.columns if column.startswith(FEATURE)):
        values = table.get_column(f"{FEATURE}{name}")
        given = table.get_column(f"{NULL}{name}") if f"{NULL}{name}" in table.columns else None
        if values.null_count() == len(values) and (given is None or not given.any()):
            continue
        columns += _feature(values, table.get_column(f"{WHOLE}{name}") if values.dtype == pl.Float64 else None)
        if given is not None and given.any():
            columns.append(pl.col(f"{NULL}{name}"))
    return table.select(columns)


def _feature(values: pl.Series, whole: pl.Series | None) -> list[pl.Expr]:
    column = pl.col(values.name)
    count = 0 if whole is None else int(whole.sum())
    if count == 0:
        return [column]
    if count == len(values) - values.null_count():
        return [column.cast(pl.Int64)]
    return [column, pl.col(f"{WHOLE}{values.name.removeprefix(FEATURE)}")]


def _distinct(table: pl.DataFrame) -> pl.DataFrame:
    """Each combination of features and label at its first event; rows whose hashes are equal are compared in full."""
    content = [name for name in table.columns if name.startswith(FEATURE) or name == "y"]
    hashes = table.select(content).hash_rows()
    if hashes.n_unique() == table.height:
        return table
    suspects = table.select(*content, pl.int_range(pl.len()).alias("row")).filter(~hashes.is_unique())
    kept = suspects.unique(content, keep="first").get_column("row")
    again = set(suspects.get_column("row")) - set(kept)
    return table.filter(~pl.int_range(pl.len()).is_in(list(again)))


def _nothing_left(spec: ModelSpec, counts: RowCounts) -> TrainingDataError:
    told = ", ".join(f"{count} {name}" for name, count in counts.to_json().items() if count)
    labels = f" labels come from {spec.labels}, within label_ttl {spec.label_ttl:g} s;" if spec.labels else ""
    return TrainingDataError(
        f"found no event with its label in the window ({told}), expected some to train on;{labels} see `headrace model "
        f"show {spec.name}` and choose a longer `window`"
    )
