"""Sequential test of a challenger against the champion on the same events, valid at all times.

The test sums up the champion's loss minus the challenger's for each event, as a share of the largest loss. Two tests
look at the sum after every block, and a verdict needs both: one treats events separately and is valid for any
distribution, the other treats blocks and is valid where disagreement persists within blocks (see
`confidence_sequences.py`, and docs/promotion.md for the assumptions). The first events set the scale of both, and are
not evidence. Results do not depend on the batches in which events arrive.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from service.domain.specification.promotion import (
    UNBOUNDED_LOSSES,
    ComparisonEvidence,
    ComparisonVerdict,
    Loss,
    PromoteSpec,
)
from service.domain.stream.events import Task
from service.learning.evaluation import confidence_sequences
from service.learning.evaluation.losses import LossPairs

LOG_LOSS_CLIP = 7.0
"""Bound on the log loss in nats; it is the loss of a probability of 0.0009."""

_SCALE_EVENTS = 256
_BOUND_IN_MEANS = 10.0
_PRIOR_SQUARES = 0.1


@dataclass(frozen=True, slots=True)
class SequentialTestSettings:
    """Settings fixed before the first event; without a `bound`, the champion's first losses set it."""

    loss: Loss
    level: float
    min_events: int
    max_events: int
    block: int
    bound: float | None

    @property
    def scale_events(self) -> int:
        """Return how many events only set the scale."""
        return max(min(_SCALE_EVENTS, self.min_events // 4), 1)

    @classmethod
    def of_shadow(cls, spec: PromoteSpec, task: Task, *, ordinal: int) -> Self:
        """Return the settings for the champion's `ordinal`-th challenger (1, 2, ...)."""
        loss = spec.loss_of(task)
        bound = spec.clip or (LOG_LOSS_CLIP if loss is Loss.LOG else None)
        return cls(
            loss,
            spec.error_level(ordinal),
            spec.shadow.min_events,
            spec.shadow.max_events,
            spec.shadow.block,
            bound if loss in UNBOUNDED_LOSSES else 1.0,
        )

    @classmethod
    def of_probation(cls, spec: PromoteSpec, task: Task) -> Self:
        """Return the settings for the former champion, which is the first challenger that the new one meets."""
        events = spec.probation.events
        shadow = cls.of_shadow(spec, task, ordinal=1)
        return replace(shadow, min_events=min(shadow.min_events, events), max_events=events)


@dataclass(frozen=True, slots=True)
class LossScale:
    """The scale set by the first events: the largest loss, and the rho for which the boundaries are narrowest."""

    bound: float
    rho: float


@dataclass(frozen=True, slots=True)
class LossSums:
    """Sums over whole blocks, in units of the bound: differences, their squares, squares of block sums, and losses."""

    blocks: int = 0
    differences: float = 0.0
    squares: float = 0.0
    block_squares: float = 0.0
    champion: float = 0.0
    challenger: float = 0.0


@dataclass(frozen=True, slots=True)
class SequentialComparison:
    """The state of a comparison; `waiting` holds both losses of events that do not make a whole block yet."""

    terms: SequentialTestSettings
    events: int = 0
    verdict: ComparisonVerdict = ComparisonVerdict.WAIT
    scale: LossScale | None = None
    sums: LossSums = LossSums()
    waiting: tuple[Sequence[float], Sequence[float]] = ((), ())

    def updated(self, pairs: LossPairs) -> Self:
        """Return the comparison after more events; events after the verdict change nothing."""
        found = self
        champion = np.concatenate((self.waiting[0], pairs.champion))
        challenger = np.concatenate((self.waiting[1], pairs.challenger))
        start = 0
        while found.verdict is ComparisonVerdict.WAIT and len(champion) - start >= (size := found._events_to_next_step):
            end = start + size
            found = found._after_block(champion[start:end], challenger[start:end])
            start = end
        over = found.verdict is not ComparisonVerdict.WAIT
        rest = ((), ()) if over else (tuple(champion[start:].tolist()), tuple(challenger[start:].tolist()))
        return replace(found, waiting=rest)

    @property
    def events_seen(self) -> int:
        """Return the number of events, including those that wait for a whole block."""
        return self.events + len(self.waiting[0])

    def evidence(self) -> ComparisonEvidence:
        """Return the present result in the form that is stored."""
        tested = self.sums.blocks * self.terms.block
        if self.scale is None or not tested:
            return ComparisonEvidence(self.verdict, self._reason(), self.terms.loss, self.events_seen, self.terms.level)
        bound, total = self.scale.bound, self.sums.differences
        radius = min(max(self._event_boundary(), self._block_boundary()), tested + abs(total))
        return ComparisonEvidence(
            self.verdict,
            self._reason(),
            self.terms.loss,
            self.events_seen,
            self.terms.level,
            champion_loss=self.sums.champion * bound / tested,
            challenger_loss=self.sums.challenger * bound / tested,
            difference=total * bound / tested,
            lower=max((total - radius) / tested, -1.0) * bound,
            upper=min((total + radius) / tested, 1.0) * bound,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for JSON as well as msgpack."""
        found = asdict(self)
        found["terms"]["loss"] = self.terms.loss.value
        return {**found, "verdict": self.verdict.value, "waiting": [list(column) for column in self.waiting]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `to_json` has written."""
        terms = SequentialTestSettings(**{**data["terms"], "loss": Loss(data["terms"]["loss"])})
        scale = None if data["scale"] is None else LossScale(**data["scale"])
        champion, challenger = (tuple(column) for column in data["waiting"])
        verdict, sums = ComparisonVerdict(data["verdict"]), LossSums(**data["sums"])
        return cls(terms, data["events"], verdict, scale, sums, (champion, challenger))

    @property
    def _events_to_next_step(self) -> int:
        """Return after how many more events the next block, or the comparison, ends."""
        size = self.terms.block if self.scale else self.terms.scale_events
        return min(size, self.terms.max_events - self.events)

    def _after_block(self, champion: Any, challenger: Any) -> Self:
        """Return the comparison after one whole block, or after the last events."""
        events = self.events + len(champion)
        if self.scale is None:
            return replace(self, events=events, scale=_set_scale(self.terms, champion, challenger))
        sums = self.sums
        if len(champion) == self.terms.block:
            sums = _add_block(sums, _scaled_losses(champion, self.scale), _scaled_losses(challenger, self.scale))
        found = replace(self, events=events, sums=sums)
        return replace(found, verdict=found.judge())

    def judge(self) -> ComparisonVerdict:
        """Return what the sums decide, whatever was decided before."""
        total = self.sums.differences
        if (
            self.events >= self.terms.min_events
            and abs(total) >= self._block_boundary()
            and abs(total) >= self._event_boundary()
        ):
            return ComparisonVerdict.PROMOTE if total > 0 else ComparisonVerdict.REJECT
        return ComparisonVerdict.REJECT if self.events >= self.terms.max_events else ComparisonVerdict.WAIT

    def _event_boundary(self) -> float:
        assert self.scale is not None
        return confidence_sequences.event_boundary(self.sums.squares, rho=self.scale.rho, level=self.terms.level)

    def _block_boundary(self) -> float:
        assert self.scale is not None
        return confidence_sequences.block_boundary(self.sums.block_squares, rho=self.scale.rho, level=self.terms.level)

    def _reason(self) -> str:
        """Return the verdict in words."""
        terms = self.terms
        if self.verdict is ComparisonVerdict.PROMOTE:
            return f"better by {terms.loss} loss, at level {terms.level:.4g}"
        if self.verdict is ComparisonVerdict.WAIT:
            return f"not decided after {self.events_seen} of at most {terms.max_events} events"
        proved = abs(self.sums.differences) >= max(self._block_boundary(), self._event_boundary())
        if proved and self.events >= terms.min_events:
            return f"worse by {terms.loss} loss, at level {terms.level:.4g}"
        return f"not shown to be better within {terms.max_events} events"


def _set_scale(terms: SequentialTestSettings, champion: Any, challenger: Any) -> LossScale:
    """Set the scale from the first events; a tenth of a squared full loss keeps it above zero without differences."""
    bound = terms.bound
    if bound is None:
        bound = _BOUND_IN_MEANS * math.fsum(champion) / len(champion)
    before = LossScale(bound, 1.0)
    squares = math.fsum((_scaled_losses(champion, before) - _scaled_losses(challenger, before)) ** 2)
    spread = (squares + _PRIOR_SQUARES) / (len(champion) + 1)
    events = math.sqrt(terms.min_events * terms.max_events)
    return LossScale(bound, confidence_sequences.tune_rho(spread, events=events, level=terms.level))


def _scaled_losses(values: Any, scale: LossScale) -> Any:
    """Return losses as shares of the largest."""
    return np.minimum(values, scale.bound) / scale.bound if scale.bound > 0 else np.zeros(len(values))


def _add_block(sums: LossSums, champion: Any, challenger: Any) -> LossSums:
    lost, lost_by_challenger = math.fsum(champion), math.fsum(challenger)
    total = lost - lost_by_challenger
    return LossSums(
        sums.blocks + 1,
        sums.differences + total,
        sums.squares + math.fsum((champion - challenger) ** 2),
        sums.block_squares + total * total,
        sums.champion + lost,
        sums.challenger + lost_by_challenger,
    )
