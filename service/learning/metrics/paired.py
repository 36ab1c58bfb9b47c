"""What a model predicted for events, by their places in the stream, so that two models can be held side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from service.domain.stream.events import Label
from service.domain.training.evaluation import Coverage
from service.learning.metrics.journal import RunArrays

Place: TypeAlias = tuple[str, int, int]
"""Topic, partition, offset."""

Group: TypeAlias = str | int | None


@dataclass(frozen=True, slots=True)
class ScoredEvents:
    """Columns of one length, in the order in which they were predicted.

    A label is None where nothing was predicted; probabilities are P(True) of a binary task, else `{label: p}`.
    """

    places: Sequence[Place]
    truths: Sequence[Label]
    labels: Sequence[Label | None]
    probabilities: Sequence[Any] | None = None
    groups: Sequence[Group] | None = None

    def __len__(self) -> int:
        """How many events."""
        return len(self.places)

    def take(self, rows: Sequence[int]) -> "ScoredEvents":
        """These rows, in this order."""
        return ScoredEvents(
            [self.places[i] for i in rows],
            [self.truths[i] for i in rows],
            [self.labels[i] for i in rows],
            None if self.probabilities is None else [self.probabilities[i] for i in rows],
            None if self.groups is None else [self.groups[i] for i in rows],
        )


def of_runs(runs: Sequence[RunArrays]) -> ScoredEvents:
    """The columns of a score journal; probabilities only where every run has them."""
    given = bool(runs) and all(run.probabilities is not None for run in runs)
    return ScoredEvents(
        [(*run.at, offset) for run in runs for offset in run.offsets.tolist()],
        [one for run in runs for one in _plain(run.truths)],
        [one for run in runs for one in _plain(run.labels)],
        [float(one) for run in runs for one in _plain(run.probabilities)] if given else None,
    )


@dataclass(frozen=True, slots=True)
class Paired:
    """Both sides on the same events, in the candidate's order; `rows` are the candidate's."""

    rows: Sequence[int]
    candidate: ScoredEvents
    champion: ScoredEvents
    coverage: Coverage


def paired(candidate: ScoredEvents, champion: ScoredEvents) -> Paired:
    """The events that both predicted; an event that stands twice counts as it was first scored."""
    place_of: dict[Place, int] = {}
    for row, place in enumerate(champion.places):
        place_of.setdefault(place, row)
    rows: dict[Place, tuple[int, int]] = {}
    unscored = unpredicted = contradicting = 0
    met: set[Place] = set()
    for row, place in enumerate(candidate.places):
        if place in met:
            continue
        met.add(place)
        other = place_of.get(place)
        if other is None:
            unscored += 1
        elif candidate.labels[row] is None or champion.labels[other] is None:
            unpredicted += 1
        elif candidate.truths[row] != champion.truths[other]:
            contradicting += 1
        else:
            rows[place] = (row, other)
    ours, theirs = [one for one, _ in rows.values()], [other for _, other in rows.values()]
    coverage = Coverage(len(rows), unscored, len(place_of.keys() - met), unpredicted, contradicting)
    return Paired(ours, candidate.take(ours), champion.take(theirs), coverage)


def alone(candidate: ScoredEvents) -> tuple[Sequence[int], ScoredEvents, int]:
    """The candidate's predicted rows, those events, and how many were not predicted."""
    rows = [row for row, label in enumerate(candidate.labels) if label is not None]
    return rows, candidate.take(rows), len(candidate) - len(rows)


def unchanged(events: ScoredEvents, rows: Sequence[int], *, before: Label | None) -> ScoredEvents:
    """For these rows, the truth of the event before as the forecast; `before` precedes the first of all."""
    kept = [row for row in rows if row or before is not None]
    labels = [events.truths[row - 1] if row else before for row in kept]
    return ScoredEvents([events.places[i] for i in kept], [events.truths[i] for i in kept], labels)


def _plain(column: Any) -> list[Any]:
    return column if isinstance(column, list) else list(column.tolist())
