"""How much of what a lineage is given has to be refused, and whether that is too much."""

from dataclasses import dataclass

from service.domain.events import Reason, Refusal
from service.domain.registry import Role
from service.domain.specification import ModelSpec
from service.learning.outcomes import Outcome

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
