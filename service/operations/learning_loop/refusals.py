"""Watches the share of refused events, and collects them as dead letters for the next commit."""

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
"""Reasons of refusals that the estimator causes, not the stream."""


@dataclass
class RefusalRateBreaker:
    """Trips when too large a share of the last records was refused.

    For a challenger only refusals that its estimator causes count.
    """

    spec: ModelSpec
    role: LineageRole
    seen: int = 0
    refused: int = 0
    last_refusal: Refusal | None = None

    def trip_reason(self, outcome: LearningOutcome) -> str | None:
        """Return why too much is refused, or None; it decides every `REFUSAL_SAMPLE_RECORDS` records.

        A replay never trips it: the records of its history were refused before.
        """
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
    """Collects the records refused, and the dead letters replayed, since the last commit.

    Dead letters belong to the model. `keep` is False for a challenger: its champion may have learned what it refuses.
    """

    def __init__(self, spec: DeadLetterSpec, *, keep: bool) -> None:
        self._spec = spec
        self._keep = keep
        self._refused: list[DeadLetter] = []
        self._replayed_ids: list[int] = []

    @property
    def is_full(self) -> bool:
        """Return whether so many refusals wait for a commit that learning must pause."""
        return len(self._refused) > REFUSAL_SAMPLE_RECORDS * 10

    def add(self, at: TopicPartition, refusals: Sequence[Refusal]) -> Counter[str]:
        """Buffer the refusals as dead letters of the next commit; return how many there are of each reason."""
        for one in refusals if self._keep else ():
            letter = DeadLetter(at, one.offset, one.reason, one.detail, one.payload, len(one.payload))
            self._refused.append(with_truncated_payload(letter, self._spec.max_payload))
        return Counter(str(one.reason) for one in refusals)

    def mark_replayed(self, letter: DeadLetter) -> None:
        """Record with the next commit that this dead letter was replayed."""
        self._replayed_ids.append(letter.id)

    def drain(self) -> tuple[Sequence[DeadLetter], Sequence[int]]:
        """Return and clear the buffered dead letters and the ids of the replayed ones."""
        refused, self._refused = self._refused, []
        replayed, self._replayed_ids = self._replayed_ids, []
        return refused, replayed
