"""Pairs what two models predicted for the same events, by their positions in the stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from service.domain.stream.events import Label
from service.domain.training.evaluation import Coverage
from service.learning.metrics.journal import RunArrays

RecordPosition: TypeAlias = tuple[str, int, int]
"""Topic, partition, offset."""

Group: TypeAlias = str | int | None


@dataclass(frozen=True, slots=True)
class ScoredEvents:
    """Scored events in columns of one length, in the order in which they were predicted.

    A label is None where nothing was predicted; probabilities are P(True) of a binary task, else `{label: p}`.
    """

    places: Sequence[RecordPosition]
    truths: Sequence[Label]
    labels: Sequence[Label | None]
    probabilities: Sequence[Any] | None = None
    groups: Sequence[Group] | None = None

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.places)

    def take(self, rows: Sequence[int]) -> "ScoredEvents":
        """Return these rows, in this order."""
        return ScoredEvents(
            [self.places[i] for i in rows],
            [self.truths[i] for i in rows],
            [self.labels[i] for i in rows],
            None if self.probabilities is None else [self.probabilities[i] for i in rows],
            None if self.groups is None else [self.groups[i] for i in rows],
        )


def events_of_runs(runs: Sequence[RunArrays]) -> ScoredEvents:
    """Return the columns of a score journal, with probabilities only where every run has them."""
    given = bool(runs) and all(run.probabilities is not None for run in runs)
    return ScoredEvents(
        [(*run.at, offset) for run in runs for offset in run.offsets.tolist()],
        [one for run in runs for one in _python_list(run.truths)],
        [one for run in runs for one in _python_list(run.labels)],
        [float(one) for run in runs for one in _python_list(run.probabilities)] if given else None,
    )


@dataclass(frozen=True, slots=True)
class PairedEvents:
    """The same events as both models scored them, in the candidate's order, with their candidate rows."""

    rows: Sequence[int]
    candidate: ScoredEvents
    champion: ScoredEvents
    coverage: Coverage


def pair_events(candidate: ScoredEvents, champion: ScoredEvents) -> PairedEvents:
    """Return the events that both predicted; an event that occurs twice counts as it was first scored."""
    row_of: dict[RecordPosition, int] = {}
    for row, position in enumerate(champion.places):
        row_of.setdefault(position, row)
    rows: dict[RecordPosition, tuple[int, int]] = {}
    unscored = unpredicted = contradicting = 0
    met: set[RecordPosition] = set()
    for row, position in enumerate(candidate.places):
        if position in met:
            continue
        met.add(position)
        other = row_of.get(position)
        if other is None:
            unscored += 1
        elif candidate.labels[row] is None or champion.labels[other] is None:
            unpredicted += 1
        elif candidate.truths[row] != champion.truths[other]:
            contradicting += 1
        else:
            rows[position] = (row, other)
    ours, theirs = [one for one, _ in rows.values()], [other for _, other in rows.values()]
    coverage = Coverage(len(rows), unscored, len(row_of.keys() - met), unpredicted, contradicting)
    return PairedEvents(ours, candidate.take(ours), champion.take(theirs), coverage)


def predicted_only(candidate: ScoredEvents) -> tuple[Sequence[int], ScoredEvents, int]:
    """Return the candidate's predicted rows, those events, and how many were not predicted."""
    rows = [row for row, label in enumerate(candidate.labels) if label is not None]
    return rows, candidate.take(rows), len(candidate) - len(rows)


def no_change_baseline(events: ScoredEvents, rows: Sequence[int], *, previous_label: Label | None) -> ScoredEvents:
    """Return these rows with the truth of the event before each as its label.

    `previous_label` is the truth before the first event; if it is None, the first event is left out.
    """
    kept = [row for row in rows if row or previous_label is not None]
    labels = [events.truths[row - 1] if row else previous_label for row in kept]
    return ScoredEvents([events.places[i] for i in kept], [events.truths[i] for i in kept], labels)


def _python_list(column: Any) -> list[Any]:
    return column if isinstance(column, list) else list(column.tolist())
