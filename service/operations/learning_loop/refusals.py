"""Refused events on their way to a commit, as dead letters."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from service.domain.registry.registry import DeadLetter, LineageRole
from service.domain.specification.model import DeadLetterSpec, ModelSpec
from service.domain.stream.events import Refusal, RefusalReason, TopicPartition
from service.learning.learner.outcomes import LearningOutcome
from service.operations.learning_loop.checkpoint import with_truncated_payload

REFUSAL_SAMPLE_RECORDS = 1000


ESTIMATOR_FAULTS = frozenset(
    {RefusalReason.ESTIMATOR_FAILED, RefusalReason.NON_FINITE_PREDICTION, RefusalReason.KILLED_PROCESS}
)
"""Refusals that are the fault of the estimator and not of the stream."""


@dataclass
class RefusalRateBreaker:
    """How much of what came lately was refused; a challenger answers for its estimator alone."""

    spec: ModelSpec
    role: LineageRole
    seen: int = 0
    refused: int = 0
    last_refusal: Refusal | None = None

    def trip_reason(self, outcome: LearningOutcome) -> str | None:
        """Why, if at least `SHARE_OVER` records say so; never of a replay, whose history was refused before."""
        refusals = [
            one for one in outcome.refusals if self.role is not LineageRole.CHALLENGER or one.reason in ESTIMATOR_FAULTS
        ]
        self.seen += sum(outcome.counts.values())
        self.refused += len(refusals)
        self.last_refusal = refusals[-1] if refusals else self.last_refusal
        if self.seen < REFUSAL_SAMPLE_RECORDS or self.role is LineageRole.REPLAYING:
            return None
        share, last = self.refused / self.seen, self.last_refusal
        self.seen = self.refused = 0
        return self._reason(share, last) if last is not None and share > self.spec.guard.max_refused_share else None

    def _reason(self, share: float, last: Refusal) -> str:
        limit = f"max_refused_share {self.spec.guard.max_refused_share:.0%}"
        if self.role is LineageRole.CHALLENGER:
            found = f"found {share:.0%} of the last events refused by its estimator"
            return f"{found}, expected at most {limit}; at last: {last.detail:.200}"
        return (
            f"{share:.0%} of the last events were refused, more than {limit}; see `headrace deadletter list "
            f"{self.spec.name}`, then `headrace model unfreeze {self.spec.name}`"
        )


class DeadLetterBuffer:
    """What was refused, and which dead letters were learned after all, since the last commit.

    They are the model's: what a challenger refuses its champion may have learned, and is not `kept`.
    """

    def __init__(self, spec: DeadLetterSpec, *, keep: bool) -> None:
        self._spec = spec
        self._keep = keep
        self._refused: list[DeadLetter] = []
        self._replayed_ids: list[int] = []

    @property
    def is_full(self) -> bool:
        """Whether so many wait for a commit that learning must wait too."""
        return len(self._refused) > REFUSAL_SAMPLE_RECORDS * 10

    def add(self, at: TopicPartition, refusals: Sequence[Refusal]) -> Counter[str]:
        """They become dead letters with the next commit; how many for each reason."""
        for one in refusals if self._keep else ():
            letter = DeadLetter(at, one.offset, one.reason, one.detail, one.payload, len(one.payload))
            self._refused.append(with_truncated_payload(letter, self._spec.max_payload))
        return Counter(str(one.reason) for one in refusals)

    def mark_replayed(self, letter: DeadLetter) -> None:
        """It was learned after all."""
        self._replayed_ids.append(letter.id)

    def drain(self) -> tuple[Sequence[DeadLetter], Sequence[int]]:
        """For a commit."""
        refused, self._refused = self._refused, []
        replayed, self._replayed_ids = self._replayed_ids, []
        return refused, replayed
