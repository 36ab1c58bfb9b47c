"""What each prediction of a score journal cost, and which events two journals have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.domain.specification.promotion import Loss
from service.domain.stream.events import TopicPartition
from service.learning.metrics.journal import RunArrays


@dataclass(frozen=True, slots=True)
class Losses:
    """Losses of one run of one partition; NaN where nothing was predicted."""

    at: TopicPartition
    offsets: Any
    values: Any


@dataclass(frozen=True, slots=True)
class Pairs:
    """Losses of both for the same events, in the order in which the champion scored them."""

    champion: Any
    challenger: Any

    def __len__(self) -> int:
        """How many events."""
        return len(self.champion)


_NOTHING = (np.zeros(0, dtype=np.int64), np.zeros(0))


def losses(run: RunArrays, loss: Loss) -> Losses:
    """A run's losses before any clipping; a model that gives no probabilities is as good as sure of its labels."""
    missing = _missing(run.labels)
    if loss is Loss.ZERO_ONE:
        wrong = [truth != label for truth, label in zip(run.truths, run.labels, strict=True)]
        values = np.asarray(wrong, dtype=float)
    elif loss in {Loss.BRIER, Loss.LOG}:
        values = _of_chances(_chances(run), np.asarray(run.truths, dtype=float), loss)
    else:
        errors = np.asarray(run.truths, dtype=float) - np.asarray(run.labels, dtype=float)
        values = np.abs(errors) if loss is Loss.ABSOLUTE else errors**2
    return Losses(run.at, np.asarray(run.offsets, dtype=np.int64), np.where(missing, np.nan, values))


def paired(
    champion: Sequence[Losses], challenger: Sequence[Losses], *, since: Mapping[TopicPartition, int] | None = None
) -> Pairs:
    """The events that both have predicted, by topic, partition and offset, of offsets from `since` on.

    An event that a journal holds twice counts as it was scored first.
    """
    first = since or {}
    known = {at: _sorted([one for one in challenger if one.at == at]) for at in {one.at for one in challenger}}
    seen: dict[TopicPartition, set[int]] = {}
    found: list[tuple[Any, Any]] = [(np.zeros(0), np.zeros(0))]
    for one in champion:
        offsets, values = known.get(one.at, _NOTHING)
        if not len(offsets):
            continue
        places = np.minimum(np.searchsorted(offsets, one.offsets), len(offsets) - 1)
        other = values[places]
        both = (offsets[places] == one.offsets) & (one.offsets >= first.get(one.at, 0))
        both &= ~np.isnan(one.values) & ~np.isnan(other) & _new(one, seen.setdefault(one.at, set()))
        found.append((one.values[both], other[both]))
    return Pairs(np.concatenate([pair[0] for pair in found]), np.concatenate([pair[1] for pair in found]))


def _missing(labels: Any) -> Any:
    return np.zeros(len(labels), dtype=bool) if isinstance(labels, np.ndarray) else [one is None for one in labels]


def _chances(run: RunArrays) -> Any:
    given = run.labels if run.probabilities is None else run.probabilities
    return np.asarray(given, dtype=float)


def _of_chances(chances: Any, truths: Any, loss: Loss) -> Any:
    if loss is Loss.BRIER:
        return (chances - truths) ** 2
    with np.errstate(divide="ignore"):
        return -np.log(np.where(truths == 1, chances, 1 - chances))


def _sorted(runs: Sequence[Losses]) -> tuple[Any, Any]:
    """Offsets in order, each once, with its first value."""
    offsets, first = np.unique(np.concatenate([run.offsets for run in runs]), return_index=True)
    return offsets, np.concatenate([run.values for run in runs])[first]


def _new(run: Losses, seen: set[int]) -> Any:
    """Which offsets were not met before; they have been from now on."""
    fresh = np.zeros(len(run.offsets), dtype=bool)
    for place, offset in enumerate(run.offsets.tolist()):
        if offset not in seen:
            seen.add(offset)
            fresh[place] = True
    return fresh
