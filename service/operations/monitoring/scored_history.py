"""All that a model's champions have scored, in the order in which they served."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import compress
from typing import Any

import numpy as np

from service.domain.registry.registry import Checkpoint, JournalSegment, Model
from service.domain.stream.events import TopicPartition
from service.domain.stream.position import Run
from service.learning.metrics.journal import RunArrays, arrays
from service.operations.monitoring.champion_periods import Reign, reigns
from service.ports.registry import Checkpoints, History


@dataclass(frozen=True, slots=True)
class Served:
    """The columns that are kept, with the time of each row's commit (epoch seconds), never falling.

    `emptied` rows before them have been emptied by retention.
    """

    runs: Sequence[RunArrays]
    times: Any
    emptied: int
    reigns: Sequence[Reign]

    def rows_before(self, moment: datetime) -> int:
        """How many rows had been committed before that."""
        return int(np.searchsorted(self.times, moment.timestamp(), side="left"))

    def rows_at(self, moment: datetime) -> int:
        """How many rows had been committed by then."""
        return int(np.searchsorted(self.times, moment.timestamp(), side="right"))

    def spans(self, excluded: Sequence[Run], *, gap: int) -> Sequence[tuple[int, int]]:
        """Rows of these runs, as first and last; those with less than `gap` between them are one."""
        found = [inside(run, excluded) for run in self.runs]
        rows = np.flatnonzero(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)
        if not len(rows):
            return []
        cuts = np.flatnonzero(np.diff(rows) > gap) + 1
        return [(int(part[0]), int(part[-1])) for part in np.split(rows, cuts)]


def served(history: History, checkpoints: Checkpoints, model: Model) -> Served:
    """Read from the score journals; an event that two champions have scored counts for the first."""
    assert model.champion is not None
    chain = reigns(
        model.champion,
        lineages=history.lineages(model.name),
        versions=history.versions(model.name),
        audit=history.audit(model.name),
    )
    found: list[tuple[float, RunArrays]] = []
    emptied = 0
    for reign in chain:
        segments = [one for one in checkpoints.journal(reign.lineage) if _within(one, reign)]
        kept = [(_time(one), run) for one in segments for run in arrays(one.scores)]
        emptied += max(
            _scored(checkpoints.newest_first(reign.lineage), reign, segments)
            - sum(len(run.offsets) for _, run in kept),
            0,
        )
        found += kept if reign.born else _unseen(kept, found)
    times = [np.full(len(run.offsets), time) for time, run in found]
    moments = np.maximum.accumulate(np.concatenate(times)) if times else np.zeros(0)
    return Served([run for _, run in found], moments, emptied, chain)


def _within(segment: JournalSegment, reign: Reign) -> bool:
    time = segment.created_at
    assert time is not None
    return (reign.born or time > reign.since) and (reign.until is None or time <= reign.until)


def _time(segment: JournalSegment) -> float:
    assert segment.created_at is not None
    return segment.created_at.timestamp()


def _scored(newest_first: Sequence[Checkpoint], reign: Reign, segments: Sequence[JournalSegment]) -> int:
    """How many events the reign has scored, those that retention has emptied included.

    What a challenger counted before it took over is none of its reign.
    """
    of_reign = (one for one in newest_first if reign.until is None or one.created_at <= reign.until)
    newest = next(of_reign, None)
    if not reign.born or newest is None or newest.metrics.scored is None:
        return sum(segment.scored for segment in segments)
    return newest.metrics.scored - (reign.first.metrics.scored or 0)


def _unseen(
    kept: Sequence[tuple[float, RunArrays]], before: Sequence[tuple[float, RunArrays]]
) -> list[tuple[float, RunArrays]]:
    """Without the events that stand in `before`."""
    seen: dict[TopicPartition, Any] = {}
    for at in {run.at for _, run in kept}:
        seen[at] = np.concatenate([np.zeros(0, dtype=np.int64), *(run.offsets for _, run in before if run.at == at)])
    found = ((time, of_rows(run, ~np.isin(run.offsets, seen[run.at]))) for time, run in kept)
    return [(time, run) for time, run in found if len(run.offsets)]


def of_rows(run: RunArrays, chosen: Any) -> RunArrays:
    """The rows that a mask chooses."""

    def of(column: Any) -> Any:
        return list(compress(column, chosen)) if isinstance(column, list) else column[chosen]

    given = None if run.probabilities is None else of(run.probabilities)
    return RunArrays(run.at, run.offsets[chosen], of(run.truths), of(run.labels), given)


def inside(run: RunArrays, excluded: Sequence[Run]) -> Any:
    """Which rows lie in one of these."""
    found = np.zeros(len(run.offsets), dtype=bool)
    for one in excluded:
        if (one.topic, one.partition) == run.at:
            found |= (run.offsets >= one.first) & (run.offsets < one.last)
    return found
