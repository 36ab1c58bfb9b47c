"""Event windows: the newest part of a model's archived events, as far back as the window specification asks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import polars as pl

from service.domain.registry.archive import EVENT, LABEL, REFUSED, backfill_topic
from service.domain.specification.model import ModelSpec
from service.domain.specification.split import WindowSpec
from service.domain.stream.events import TopicPartition
from service.domain.stream.exclusion import ExcludedRange
from service.domain.stream.position import OffsetRange, Position
from service.domain.training.archive_piece import ArchivePiece
from service.errors import BelowStartError, TrainingDataError
from service.learning.datasets.dataset import ORDER_COLUMNS
from service.ports.archive import ArchiveFrames

DAY_MS = 86_400_000
_UNKNOWN_TIME_MS = 2**62

OrderKey: TypeAlias = tuple[int, str, int]
"""Event time in epoch milliseconds, topic and partition: the order of rows."""


@dataclass(frozen=True, slots=True)
class WindowRequest:
    """What to read: the window, where it ends (None: at the archive's end), and the ranges that are excluded."""

    window: WindowSpec
    until: Position | None = None
    exclusions: Sequence[ExcludedRange] = ()


@dataclass(frozen=True, slots=True)
class EventWindow:
    """Events in order, the labels among them, and how many records of the same offsets were excluded or undecodable."""

    events: pl.DataFrame
    labels: pl.DataFrame
    excluded: int
    undecodable: int
    end: Position
    places: frozenset[TopicPartition]
    """The partitions that were read."""


@dataclass
class BackwardReader:
    """Reads partitions backwards together, the piece with the newest event first."""

    frames: ArchiveFrames
    end_offsets: Mapping[TopicPartition, int]
    _remaining: dict[TopicPartition, Iterator[ArchivePiece]] = field(default_factory=dict)
    _next_pieces: dict[TopicPartition, ArchivePiece] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Open the newest piece of each partition."""
        for at, end in self.end_offsets.items():
            self._remaining[at] = self.frames.pieces(at, until=end)
            self._advance(at)

    @property
    def next_key(self) -> OrderKey | None:
        """Return an upper bound of the order keys that were not taken yet, or None where nothing is left."""
        return max(map(_order_key, self._next_pieces.values()), default=None)

    def take(self, *, rows: int, since_ms: int | None = None) -> list[ArchivePiece]:
        """Return the next pieces with at least `rows` rows in all, or all that may have events since `since_ms`."""
        found: list[ArchivePiece] = []
        while self._next_pieces and (since_ms is not None or sum(piece.rows for piece in found) < rows):
            at = max(self._next_pieces, key=lambda one: _order_key(self._next_pieces[one]))
            if since_ms is not None and _order_key(self._next_pieces[at])[0] < since_ms:
                break
            found.append(self._next_pieces[at])
            self._advance(at)
        return found

    def _advance(self, at: TopicPartition) -> None:
        self._next_pieces.pop(at, None)
        piece = next(self._remaining[at], None)
        if piece is not None:
            self._next_pieces[at] = piece


def read_window(frames: ArchiveFrames, spec: ModelSpec, request: WindowRequest) -> EventWindow:
    """Read the window.

    Raise BelowStartError where the archive begins too late, and TrainingDataError where it has no event for the window.
    """
    held = frames.bounds([backfill_topic(spec.events), spec.events])
    ends = partition_ends(frames, [spec.events], request)
    backwards = BackwardReader(frames, {**{at: one.end for at, one in held.items() if at not in ends}, **ends})
    taken: list[ArchivePiece] = []
    rows = events = pl.DataFrame()
    while (next_key := backwards.next_key) is not None and not _is_complete(events, request.window, next_key):
        # Each round at least doubles what was read, so that there are few rounds.
        missing = (request.window.events or 1) - events.height
        taken_rows = sum(piece.rows for piece in taken)
        taken += backwards.take(rows=max(missing, taken_rows, 1), since_ms=_since_ms(events, request.window))
        rows = frames.read(taken[::-1])
        events = sort_by_event_time(filter_rows(rows, (pl.col("kind") == EVENT) & ~is_excluded(request.exclusions)))
    if events.is_empty():
        raise _empty_window_error(spec, request)
    if backwards.next_key is None:
        _require_full_window(spec, request.window, events, begins={at: one.start for at, one in held.items()})
    return _clip_window(rows, events, request, end=Position(ends), places=frozenset(piece.at for piece in taken))


def partition_ends(frames: ArchiveFrames, topics: Sequence[str], request: WindowRequest) -> dict[TopicPartition, int]:
    """Return the end offset of each partition: the requested position, or the archive's end where that comes first."""
    held = frames.bounds(topics)
    if request.until is None:
        return {at: one.end for at, one in held.items()}
    return {at: min(one.end, request.until.offsets[at]) for at, one in held.items() if at in request.until.offsets}


def filter_rows(rows: pl.DataFrame, condition: pl.Expr) -> pl.DataFrame:
    """Return the rows for which the condition holds, without a copy where it holds for all."""
    holds = rows.select(condition.alias("holds")).to_series()
    return rows if holds.all() else rows.filter(holds)


def sort_by_event_time(rows: pl.DataFrame) -> pl.DataFrame:
    """Sort by event time; one partition mostly is in this order already."""
    one = all(rows.get_column(name).n_unique() <= 1 for name in ("topic", "partition"))
    sorted_ = one and rows.get_column("ts").is_sorted() and rows.get_column("offset").is_sorted()
    return rows if sorted_ else rows.sort(ORDER_COLUMNS)


def is_excluded(excluded_ranges: Sequence[ExcludedRange]) -> pl.Expr:
    """Return an expression that is true for rows in one of the ranges."""
    condition = pl.lit(value=False)
    for one in excluded_ranges:
        if isinstance(one, OffsetRange):
            at = (pl.col("topic") == one.topic) & (pl.col("partition") == one.partition)
            condition |= at & pl.col("offset").is_between(one.first, one.last - 1)
        else:
            since_ms, until_ms = one.bounds_ms
            condition |= pl.col("timestamp").is_between(since_ms, until_ms - 1)
    return condition


def _order_key(piece: ArchivePiece) -> OrderKey:
    """Return the piece's newest event time and partition; a piece without known times counts as the newest."""
    return (_UNKNOWN_TIME_MS if piece.newest_ms is None else piece.newest_ms, *piece.at)


def _since_ms(events: pl.DataFrame, window: WindowSpec) -> int | None:
    if window.days is None or events.is_empty():
        return None
    return int(cast("int", events.item(-1, "ts")) - window.days * DAY_MS)


def _is_complete(events: pl.DataFrame, window: WindowSpec, next_key: OrderKey) -> bool:
    """Return whether nothing that is still unread can belong to the window."""
    if events.is_empty():
        return False
    if window.events is None:
        return next_key[0] < cast("int", _since_ms(events, window))
    return events.height >= window.events and events.select(ORDER_COLUMNS[:3]).row(-window.events) >= next_key


def _clip_window(
    rows: pl.DataFrame,
    events: pl.DataFrame,
    request: WindowRequest,
    *,
    end: Position,
    places: frozenset[TopicPartition],
) -> EventWindow:
    since_ms = _since_ms(events, request.window)
    inside = events.tail(request.window.events) if request.window.events else events.filter(pl.col("ts") >= since_ms)
    marked = rows.with_columns(is_excluded(request.exclusions).alias("hidden"))
    left_out = marked.filter((pl.col("kind") == REFUSED) | (pl.col("hidden") & (pl.col("kind") == EVENT)))
    if not left_out.is_empty():
        begins = inside.group_by("topic", "partition").agg(pl.col("offset").min().alias("begin"))
        left_out = left_out.join(begins, on=["topic", "partition"]).filter(pl.col("offset") >= pl.col("begin"))
    hidden = int(left_out.get_column("hidden").sum())
    labels = marked.filter((pl.col("kind") == LABEL) & ~pl.col("hidden"))
    return EventWindow(inside, labels, hidden, left_out.height - hidden, end, places)


def _require_full_window(
    spec: ModelSpec, window: WindowSpec, events: pl.DataFrame, *, begins: Mapping[TopicPartition, int]
) -> None:
    """Raise BelowStartError where the window is short and the archive has lost its beginning.

    An archive that reaches back to the topic's first offset may be short: the model is young.
    """
    lost = {at: start for at, start in begins.items() if at.topic == spec.events and start > 0}
    if not lost or len(lost) < len(begins):
        return
    first_ms, last_ms = (cast("int", events.item(row, "ts")) for row in (0, -1))
    days = (last_ms - first_ms) / DAY_MS
    if window.events is not None and events.height < window.events:
        found, wanted = f"{events.height} events", f"{window.events}"
    elif window.days is not None and days < window.days:
        found, wanted = f"{days:.3g} days of events", f"{window.days:g}"
    else:
        return
    at, start = next(iter(lost.items()))
    msg = (
        f"{at.topic}[{at.partition}]: found the archive to begin at offset {start}, with {found} up to the window's "
        f"end, expected {wanted}; choose a shorter `window`, keep more with `archive.keep`, or bring older history in "
        f"with `headrace registry backfill {spec.name} FILE`"
    )
    raise BelowStartError(msg)


def _empty_window_error(spec: ModelSpec, request: WindowRequest) -> TrainingDataError:
    where = f"before {request.until}" if request.until is not None else "at all"
    exclusions_note = f", {len(request.exclusions)} exclusions left out" if request.exclusions else ""
    return TrainingDataError(
        f"found no event of {spec.events} in the archive {where}{exclusions_note}, expected some to train on; "
        f"start `headrace archive`, and see `headrace exclusion list {spec.name}`"
    )
