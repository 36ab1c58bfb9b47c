"""Losses of the predictions in score journals, and pairing of two journals by event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.domain.specification.promotion import Loss
from service.domain.stream.events import TopicPartition
from service.learning.metrics.journal import RunArrays


@dataclass(frozen=True, slots=True)
class RunLosses:
    """Losses of one run of one partition; NaN where nothing was predicted."""

    at: TopicPartition
    offsets: Any
    values: Any


@dataclass(frozen=True, slots=True)
class LossPairs:
    """Champion's and challenger's losses on the same events, in the order in which the champion scored them."""

    champion: Any
    challenger: Any

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.champion)


_NO_LOSSES = (np.zeros(0, dtype=np.int64), np.zeros(0))


def run_losses(run: RunArrays, loss: Loss) -> RunLosses:
    """Return a run's losses before clipping; a model without probabilities counts as certain of its labels."""
    missing = _missing(run.labels)
    if loss is Loss.ZERO_ONE:
        wrong = [truth != label for truth, label in zip(run.truths, run.labels, strict=True)]
        values = np.asarray(wrong, dtype=float)
    elif loss in {Loss.BRIER, Loss.LOG}:
        values = _probability_losses(_positive_probabilities(run), np.asarray(run.truths, dtype=float), loss)
    else:
        errors = np.asarray(run.truths, dtype=float) - np.asarray(run.labels, dtype=float)
        values = np.abs(errors) if loss is Loss.ABSOLUTE else errors**2
    return RunLosses(run.at, np.asarray(run.offsets, dtype=np.int64), np.where(missing, np.nan, values))


def pair_losses(
    champion: Sequence[RunLosses], challenger: Sequence[RunLosses], *, since: Mapping[TopicPartition, int] | None = None
) -> LossPairs:
    """Return the losses of events that both have predicted, matched by partition and offset, at or after `since`.

    If a journal holds an event twice, its first score counts.
    """
    first = since or {}
    known = {
        at: _sorted_by_offset([one for one in challenger if one.at == at]) for at in {one.at for one in challenger}
    }
    seen: dict[TopicPartition, set[int]] = {}
    found: list[tuple[Any, Any]] = [(np.zeros(0), np.zeros(0))]
    for one in champion:
        offsets, values = known.get(one.at, _NO_LOSSES)
        if not len(offsets):
            continue
        indices = np.minimum(np.searchsorted(offsets, one.offsets), len(offsets) - 1)
        other = values[indices]
        both = (offsets[indices] == one.offsets) & (one.offsets >= first.get(one.at, 0))
        both &= ~np.isnan(one.values) & ~np.isnan(other) & _first_seen(one, seen.setdefault(one.at, set()))
        found.append((one.values[both], other[both]))
    return LossPairs(np.concatenate([pair[0] for pair in found]), np.concatenate([pair[1] for pair in found]))


def _missing(labels: Any) -> Any:
    return np.zeros(len(labels), dtype=bool) if isinstance(labels, np.ndarray) else [one is None for one in labels]


def _positive_probabilities(run: RunArrays) -> Any:
    given = run.labels if run.probabilities is None else run.probabilities
    return np.asarray(given, dtype=float)


def _probability_losses(probabilities: Any, truths: Any, loss: Loss) -> Any:
    if loss is Loss.BRIER:
        return (probabilities - truths) ** 2
    with np.errstate(divide="ignore"):
        return -np.log(np.where(truths == 1, probabilities, 1 - probabilities))


def _sorted_by_offset(runs: Sequence[RunLosses]) -> tuple[Any, Any]:
    """Return the offsets in ascending order, each once, with its first value."""
    offsets, first = np.unique(np.concatenate([run.offsets for run in runs]), return_index=True)
    return offsets, np.concatenate([run.values for run in runs])[first]


def _first_seen(run: RunLosses, seen: set[int]) -> Any:
    """Return which offsets are not in `seen`, and add them to it."""
    fresh = np.zeros(len(run.offsets), dtype=bool)
    for index, offset in enumerate(run.offsets.tolist()):
        if offset not in seen:
            seen.add(offset)
            fresh[index] = True
    return fresh
