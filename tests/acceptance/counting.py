"""A user's own estimator: river's protocol, and nothing of river's."""

from collections.abc import Mapping
from typing import Any


class Counting:
    """How often each label came with a country."""

    def __init__(self) -> None:
        self.seen: dict[str, dict[bool, int]] = {}

    def learn_one(self, x: Mapping[str, Any], y: bool) -> None:
        """One more."""
        self.seen.setdefault(x["country"], {False: 1, True: 1})[y] += 1

    def predict_one(self, x: Mapping[str, Any]) -> bool:
        """The label that came more often."""
        chances = self.predict_proba_one(x)
        return max(chances, key=chances.__getitem__)

    def predict_proba_one(self, x: Mapping[str, Any]) -> dict[bool, float]:
        """The share of each."""
        counts = self.seen.get(x["country"], {False: 1, True: 1})
        return {label: count / sum(counts.values()) for label, count in counts.items()}


def make() -> Counting:
    """The factory that a configuration names."""
    return Counting()
