"""The scored history of a model: everything that its champions have scored, in the order in which they served."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import compress
from typing import Any

import numpy as np

from service.domain.registry.registry import Checkpoint, JournalSegment, RegisteredModel
from service.domain.stream.events import TopicPartition
from service.domain.stream.position import OffsetRange
from service.learning.metrics.journal import RunArrays, decode_arrays
from service.operations.monitoring.champion_periods import ChampionPeriod, champion_periods
from service.ports.registry import Checkpoints, ModelHistory


@dataclass(frozen=True, slots=True)
class ScoredHistory:
    """The stored scores, and the commit time of each row in epoch seconds, never falling.

    `expired_rows` is the number of rows before them that retention has removed.
    """

    runs: Sequence[RunArrays]
    commit_times_s: Any
    expired_rows: int
    periods: Sequence[ChampionPeriod]

    def rows_before(self, moment: datetime) -> int:
        """Return how many rows were committed before the moment."""
        return int(np.searchsorted(self.commit_times_s, moment.timestamp(), side="left"))

    def rows_until(self, moment: datetime) -> int:
        """Return how many rows were committed by the moment."""
        return int(np.searchsorted(self.commit_times_s, moment.timestamp(), side="right"))

    def row_spans(self, excluded_runs: Sequence[OffsetRange], *, gap: int) -> Sequence[tuple[int, int]]:
        """Return the excluded rows as spans (first, last); spans fewer than about `gap` rows apart are merged."""
        found = [rows_inside(run, excluded_runs) for run in self.runs]
        rows = np.flatnonzero(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)
        if not len(rows):
            return []
        cuts = np.flatnonzero(np.diff(rows) > gap) + 1
        return [(int(part[0]), int(part[-1])) for part in np.split(rows, cuts)]


def read_scored_history(history: ModelHistory, checkpoints: Checkpoints, model: RegisteredModel) -> ScoredHistory:
    """Read the score journals of all champions; an event that two of them scored counts for the first."""
    assert model.champion is not None
    periods = champion_periods(
        model.champion,
        lineages=history.lineages(model.name),
        versions=history.versions(model.name),
        audit=history.audit(model.name),
    )
    timed_runs: list[tuple[float, RunArrays]] = []
    expired_rows = 0
    for period in periods:
        segments = [one for one in checkpoints.journal(period.lineage) if _is_within(one, period)]
        stored = [(_commit_time_s(one), run) for one in segments for run in decode_arrays(one.scores)]
        expired_rows += max(
            _scored_count(checkpoints.newest_first(period.lineage), period, segments)
            - sum(len(run.offsets) for _, run in stored),
            0,
        )
        timed_runs += stored if period.began_as_champion else _without_duplicates(stored, timed_runs)
    times = [np.full(len(run.offsets), time) for time, run in timed_runs]
    moments = np.maximum.accumulate(np.concatenate(times)) if times else np.zeros(0)
    return ScoredHistory([run for _, run in timed_runs], moments, expired_rows, periods)


def _is_within(segment: JournalSegment, period: ChampionPeriod) -> bool:
    time = segment.created_at
    assert time is not None
    return (period.began_as_champion or time > period.since) and (period.until is None or time <= period.until)


def _commit_time_s(segment: JournalSegment) -> float:
    assert segment.created_at is not None
    return segment.created_at.timestamp()


def _scored_count(
    newest_first: Sequence[Checkpoint], period: ChampionPeriod, segments: Sequence[JournalSegment]
) -> int:
    """Return how many events were scored in the period, including those that retention has removed.

    What a challenger scored before it took over does not count.
    """
    in_period = (one for one in newest_first if period.until is None or one.created_at <= period.until)
    newest = next(in_period, None)
    if not period.began_as_champion or newest is None or newest.metrics.scored is None:
        return sum(segment.scored for segment in segments)
    return newest.metrics.scored - (period.first_version.metrics.scored or 0)


def _without_duplicates(
    stored: Sequence[tuple[float, RunArrays]], earlier: Sequence[tuple[float, RunArrays]]
) -> list[tuple[float, RunArrays]]:
    """Return the stored runs without the events of the `earlier` ones."""
    known_offsets: dict[TopicPartition, Any] = {}
    for at in {run.at for _, run in stored}:
        known_offsets[at] = np.concatenate(
            [np.zeros(0, dtype=np.int64), *(run.offsets for _, run in earlier if run.at == at)]
        )
    found = ((time, select_rows(run, ~np.isin(run.offsets, known_offsets[run.at]))) for time, run in stored)
    return [(time, run) for time, run in found if len(run.offsets)]


def select_rows(run: RunArrays, mask: Any) -> RunArrays:
    """Return the rows that the boolean mask selects."""

    def of(column: Any) -> Any:
        return list(compress(column, mask)) if isinstance(column, list) else column[mask]

    probabilities = None if run.probabilities is None else of(run.probabilities)
    return RunArrays(run.at, run.offsets[mask], of(run.truths), of(run.labels), probabilities)


def rows_inside(run: RunArrays, excluded: Sequence[OffsetRange]) -> Any:
    """Return a boolean mask of the rows that lie in one of the ranges."""
    mask = np.zeros(len(run.offsets), dtype=bool)
    for one in excluded:
        if (one.topic, one.partition) == run.at:
            mask |= (run.offsets >= one.first) & (run.offsets < one.last)
    return mask
