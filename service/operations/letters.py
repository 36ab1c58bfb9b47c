"""Refused events on their way to a commit, as dead letters."""

from collections import Counter
from collections.abc import Sequence

from service.domain.events import Refusal, TopicPartition
from service.domain.registry import DeadLetter
from service.domain.specification import DeadLetterSpec
from service.operations.checkpoint import trimmed
from service.operations.share import SHARE_OVER


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
