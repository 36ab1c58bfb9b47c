"""The newest part of a model's archived events, as far back as a window asks for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import polars as pl

from service.domain.registry.archive import EVENT, LABEL, REFUSED, backfilled
from service.domain.specification.model import ModelSpec
from service.domain.specification.split import WindowSpec
from service.domain.stream.events import TopicPartition
from service.domain.stream.exclusion import Stretch
from service.domain.stream.position import Position, Run
from service.domain.training.archive_piece import Piece
from service.errors import BelowStartError, TrainingDataError
from service.learning.datasets.dataset import ORDER
from service.ports.archive import ArchiveFrames

DAY_MS = 86_400_000
_UNKNOWN_MS = 2**62

Border: TypeAlias = tuple[int, str, int]
"""Event time, topic and partition, by which rows are in order."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What to read: where it ends (else at the archive's end), and what no reader may see."""

    window: WindowSpec
    until: Position | None = None
    exclusions: Sequence[Stretch] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """Events in order, and the labels among them; how many records of the same offsets were left out, and why."""

    events: pl.DataFrame
    labels: pl.DataFrame
    excluded: int
    undecodable: int
    end: Position
    places: frozenset[TopicPartition]
    """Where its events may stand."""


@dataclass
class Backwards:
    """Partitions read back together, the piece with the newest event first."""

    frames: ArchiveFrames
    ends: Mapping[TopicPartition, int]
    _rest: dict[TopicPartition, Iterator[Piece]] = field(default_factory=dict)
    _heads: dict[TopicPartition, Piece] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Open the newest file of each partition."""
        for at, end in self.ends.items():
            self._rest[at] = self.frames.pieces(at, until=end)
            self._advance(at)

    @property
    def border(self) -> Border | None:
        """What comes after it in order has been taken, as far as files tell; None where nothing is left."""
        return max(map(_border, self._heads.values()), default=None)

    def take(self, *, rows: int, since_ms: int | None = None) -> list[Piece]:
        """The next pieces with so many rows in all, or all that have events since then."""
        found: list[Piece] = []
        while self._heads and (since_ms is not None or sum(piece.rows for piece in found) < rows):
            at = max(self._heads, key=lambda one: _border(self._heads[one]))
            if since_ms is not None and _border(self._heads[at])[0] < since_ms:
                break
            found.append(self._heads[at])
            self._advance(at)
        return found

    def _advance(self, at: TopicPartition) -> None:
        self._heads.pop(at, None)
        piece = next(self._rest[at], None)
        if piece is not None:
            self._heads[at] = piece


def read_window(frames: ArchiveFrames, spec: ModelSpec, ask: Ask) -> Window:
    """BelowStartError where the archive begins too late, TrainingDataError where it has no event for the window."""
    held = frames.bounds([backfilled(spec.events), spec.events])
    ends = ends_of(frames, [spec.events], ask)
    backwards = Backwards(frames, {**{at: one.end for at, one in held.items() if at not in ends}, **ends})
    taken: list[Piece] = []
    rows = events = pl.DataFrame()
    while (border := backwards.border) is not None and not _enough(events, ask.window, border):
        missing = (ask.window.events or 1) - events.height
        doubled = sum(piece.rows for piece in taken)
        taken += backwards.take(rows=max(missing, doubled, 1), since_ms=_since_ms(events, ask.window))
        rows = frames.read(taken[::-1])
        events = in_order(chosen(rows, (pl.col("kind") == EVENT) & ~excluded(ask.exclusions)))
    if events.is_empty():
        raise _empty(spec, ask)
    if backwards.border is None:
        _require_reach(spec, ask.window, events, begins={at: one.start for at, one in held.items()})
    return _cut(rows, events, ask, end=Position(ends), places=frozenset(piece.at for piece in taken))


def ends_of(frames: ArchiveFrames, topics: Sequence[str], ask: Ask) -> dict[TopicPartition, int]:
    """Where to stop in each partition: at the position, or where the archive ends before it."""
    held = frames.bounds(topics)
    if ask.until is None:
        return {at: one.end for at, one in held.items()}
    return {at: min(one.end, ask.until.offsets[at]) for at, one in held.items() if at in ask.until.offsets}


def chosen(rows: pl.DataFrame, which: pl.Expr) -> pl.DataFrame:
    """The rows for which it holds; the same ones, without a copy, where it holds for all."""
    holds = rows.select(which.alias("holds")).to_series()
    return rows if holds.all() else rows.filter(holds)


def in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """By event time, which one partition mostly has already."""
    one = all(rows.get_column(name).n_unique() <= 1 for name in ("topic", "partition"))
    sorted_ = one and rows.get_column("ts").is_sorted() and rows.get_column("offset").is_sorted()
    return rows if sorted_ else rows.sort(ORDER)


def excluded(stretches: Sequence[Stretch]) -> pl.Expr:
    """Whether a row may not be seen."""
    found = pl.lit(value=False)
    for one in stretches:
        if isinstance(one, Run):
            at = (pl.col("topic") == one.topic) & (pl.col("partition") == one.partition)
            found |= at & pl.col("offset").is_between(one.first, one.last - 1)
        else:
            since_ms, until_ms = one.ms
            found |= pl.col("timestamp").is_between(since_ms, until_ms - 1)
    return found


def _border(piece: Piece) -> Border:
    """Its newest time and its place; files that do not tell are read."""
    return (_UNKNOWN_MS if piece.newest_ms is None else piece.newest_ms, *piece.at)


def _since_ms(events: pl.DataFrame, window: WindowSpec) -> int | None:
    if window.days is None or events.is_empty():
        return None
    return int(cast("int", events.item(-1, "ts")) - window.days * DAY_MS)


def _enough(events: pl.DataFrame, window: WindowSpec, border: Border) -> bool:
    """Whether what is not read yet can hold nothing of the window."""
    if events.is_empty():
        return False
    if window.events is None:
        return border[0] < cast("int", _since_ms(events, window))
    return events.height >= window.events and events.select(ORDER[:3]).row(-window.events) >= border


def _cut(
    rows: pl.DataFrame, events: pl.DataFrame, ask: Ask, *, end: Position, places: frozenset[TopicPartition]
) -> Window:
    since_ms = _since_ms(events, ask.window)
    inside = events.tail(ask.window.events) if ask.window.events else events.filter(pl.col("ts") >= since_ms)
    marked = rows.with_columns(excluded(ask.exclusions).alias("hidden"))
    others = marked.filter((pl.col("kind") == REFUSED) | (pl.col("hidden") & (pl.col("kind") == EVENT)))
    if not others.is_empty():
        begins = inside.group_by("topic", "partition").agg(pl.col("offset").min().alias("begin"))
        others = others.join(begins, on=["topic", "partition"]).filter(pl.col("offset") >= pl.col("begin"))
    hidden = int(others.get_column("hidden").sum())
    labels = marked.filter((pl.col("kind") == LABEL) & ~pl.col("hidden"))
    return Window(inside, labels, hidden, others.height - hidden, end, places)


def _require_reach(
    spec: ModelSpec, window: WindowSpec, events: pl.DataFrame, *, begins: Mapping[TopicPartition, int]
) -> None:
    """All of a topic from its first offset on is what a young model has; of one that began later something is lost."""
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


def _empty(spec: ModelSpec, ask: Ask) -> TrainingDataError:
    where = f"before {ask.until}" if ask.until is not None else "at all"
    left = f", {len(ask.exclusions)} exclusions left out" if ask.exclusions else ""
    return TrainingDataError(
        f"found no event of {spec.events} in the archive {where}{left}, expected some to train on; start `headrace "
        f"archive`, and see `headrace exclusion list {spec.name}`"
    )
