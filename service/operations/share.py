"""How much of what a lineage is given has to be refused."""

from dataclasses import dataclass

from service.learning.outcomes import Outcome

SHARE_OVER = 1000


@dataclass
class Share:
    """How much of what came lately was refused."""

    seen: int = 0
    refused: int = 0

    def passed(self, outcome: Outcome, limit: float) -> float | None:
        """The share, if at least `SHARE_OVER` records say it is past the limit."""
        self.seen += sum(outcome.counts.values())
        self.refused += outcome.counts["dead"]
        if self.seen < SHARE_OVER:
            return None
        share = self.refused / self.seen
        self.seen = self.refused = 0
        return share if share > limit else None
