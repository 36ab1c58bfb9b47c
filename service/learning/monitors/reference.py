"""Collects a monitor's reference from the stream or from training data."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from service.domain.specification.monitor import DistanceMetric
from service.learning.monitors.distances import CategoryShares, KsPoints, MeanShift, PsiBins, ReferenceDistance
from service.learning.monitors.inputs import Floats, to_floats

MIN_REFERENCE_VALUES = 50
"""Values that are not missing; collecting goes on while a reference has fewer."""
MAX_DISTINCT = 10_000
"""Categories that are told apart while they are counted; later ones are unknown to the reference."""


@dataclass(slots=True)
class ReferenceBuilder:
    """The reference collected so far, after the first `skip` values.

    `numeric` is None until a value decides it; `other_count` counts the values of categories that are not told apart.
    """

    metric: DistanceMetric
    wanted: int
    numeric: bool | None = None
    skip: int = 0
    count: int = 0
    missing: int = 0
    other_count: int = 0
    numbers: list[Floats] = field(default_factory=list)
    categories: Counter[Any] = field(default_factory=Counter)

    @property
    def is_complete(self) -> bool:
        """Return whether enough values have been collected."""
        return self.count >= self.wanted and self.count - self.missing >= MIN_REFERENCE_VALUES

    def add(self, values: Sequence[Any]) -> int:
        """Collect values, and return how many of them were needed."""
        start = min(self.skip, len(values))
        self.skip -= start
        while start < len(values) and not self.is_complete:
            lacking = max(self.wanted - self.count, MIN_REFERENCE_VALUES - (self.count - self.missing))
            part = values[start : start + lacking]
            self._add_values(part)
            start += len(part)
        return start

    def build(self) -> ReferenceDistance:
        """Return the distance from this reference."""
        if self.metric is DistanceMetric.NEW_CATEGORY_SHARE or not self.numeric:
            unknown = self.metric is DistanceMetric.NEW_CATEGORY_SHARE
            return CategoryShares.of(self.categories, self.other_count, self.missing, unknown_share=unknown)
        sample = np.concatenate([*self.numbers, np.full(self.missing, np.nan)])
        kinds: Mapping[DistanceMetric, Any] = {
            DistanceMetric.PSI: PsiBins,
            DistanceMetric.KS: KsPoints,
            DistanceMetric.MEAN_SHIFT: MeanShift,
        }
        found: ReferenceDistance = kinds[self.metric].of(sample)
        return found

    def state(self) -> dict[str, Any]:
        """Return plain values and one array."""
        joined = np.concatenate(self.numbers) if self.numbers else np.zeros(0)
        kept = {
            "numeric": self.numeric,
            "count": self.count,
            "missing": self.missing,
            "rest": self.other_count,
            "skip": self.skip,
        }
        return {**kept, "numbers": joined, "categories": dict(self.categories)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.numeric, self.other_count, self.skip = state["numeric"], state["rest"], state["skip"]
        self.count, self.missing = state["count"], state["missing"]
        self.numbers, self.categories = [state["numbers"]], Counter(state["categories"])

    def _add_values(self, values: Sequence[Any]) -> None:
        self.count += len(values)
        found = None if self.metric is DistanceMetric.NEW_CATEGORY_SHARE or self.numeric is False else to_floats(values)
        if found is not None:
            there = found[~np.isnan(found)]
            self.missing += len(found) - len(there)
            self.numbers.append(there)
            self.numeric = self.numeric or (True if len(there) else None)
            return
        plain = values.tolist() if isinstance(values, np.ndarray) else values
        named = [value for value in plain if value is not None]
        self.missing += len(values) - len(named)
        self.numeric = False
        self._count_categories(named)

    def _count_categories(self, values: Sequence[Any]) -> None:
        found = Counter(values)
        new = (one for one in found if one not in self.categories)
        kept = set(islice(new, max(MAX_DISTINCT - len(self.categories), 0)))
        for one, count in found.items():
            if one in self.categories or one in kept:
                self.categories[one] += count
            else:
                self.other_count += count
