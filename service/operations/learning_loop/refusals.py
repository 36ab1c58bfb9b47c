"""Refused events on their way to a commit, as dead letters."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from service.domain.registry.registry import DeadLetter, Role
from service.domain.specification.model import DeadLetterSpec, ModelSpec
from service.domain.stream.events import Reason, Refusal, TopicPartition
from service.learning.learner.outcomes import Outcome
from service.operations.learning_loop.checkpoint import trimmed

SHARE_OVER = 1000


OWN = frozenset({Reason.ESTIMATOR_FAILED, Reason.NON_FINITE_PREDICTION, Reason.KILLED_PROCESS})
"""Refusals that are the fault of the estimator and not of the stream."""


@dataclass
class Share:
    """How much of what came lately was refused; a challenger answers for its estimator alone."""

    spec: ModelSpec
    role: Role
    seen: int = 0
    refused: int = 0
    last: Refusal | None = None

    def too_much(self, outcome: Outcome) -> str | None:
        """Why, if at least `SHARE_OVER` records say so; never of a replay, whose history was refused before."""
        refusals = [one for one in outcome.refusals if self.role is not Role.CHALLENGER or one.reason in OWN]
        self.seen += sum(outcome.counts.values())
        self.refused += len(refusals)
        self.last = refusals[-1] if refusals else self.last
        if self.seen < SHARE_OVER or self.role is Role.REPLAYING:
            return None
        share, last = self.refused / self.seen, self.last
        self.seen = self.refused = 0
        return self._reason(share, last) if last is not None and share > self.spec.guard.max_refused_share else None

    def _reason(self, share: float, last: Refusal) -> str:
        limit = f"max_refused_share {self.spec.guard.max_refused_share:.0%}"
        if self.role is Role.CHALLENGER:
            found = f"found {share:.0%} of the last events refused by its estimator"
            return f"{found}, expected at most {limit}; at last: {last.detail:.200}"
        return (
            f"{share:.0%} of the last events were refused, more than {limit}; see `headrace deadletter list "
            f"{self.spec.name}`, then `headrace model unfreeze {self.spec.name}`"
        )


class Letters:
    """What was refused, and which dead letters were learned after all, since the last commit.

    They are the model's: what a challenger refuses its champion may have learned, and is not `kept`.
    """

    def __init__(self, spec: DeadLetterSpec, *, kept: bool) -> None:
        self._spec = spec
        self._kept = kept
        self._refused: list[DeadLetter] = []
        self._replayed: list[int] = []

    @property
    def many(self) -> bool:
        """Whether so many wait for a commit that learning must wait too."""
        return len(self._refused) > SHARE_OVER * 10

    def add(self, at: TopicPartition, refusals: Sequence[Refusal]) -> Counter[str]:
        """They become dead letters with the next commit; how many for each reason."""
        for one in refusals if self._kept else ():
            letter = DeadLetter(at, one.offset, one.reason, one.detail, one.payload, len(one.payload))
            self._refused.append(trimmed(letter, self._spec.max_payload))
        return Counter(str(one.reason) for one in refusals)

    def learned(self, letter: DeadLetter) -> None:
        """It was learned after all."""
        self._replayed.append(letter.id)

    def take(self) -> tuple[Sequence[DeadLetter], Sequence[int]]:
        """For a commit."""
        refused, self._refused = self._refused, []
        replayed, self._replayed = self._replayed, []
        return refused, replayed
