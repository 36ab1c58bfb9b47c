"""Which part of history a retraining reads, and how it is split, as the file describes it."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from service.domain.specification.units import Delay, FrozenSpec
from service.domain.stream.events import Task

SplitKind = Literal["time", "random", "stratified"]
CvKind = Literal["kfold", "stratified_kfold", "group_kfold", "stratified_group_kfold", "time_series"]

_Share = Annotated[float, Field(ge=0, lt=1)]
_STRATIFIED_KINDS = frozenset({"stratified", "stratified_kfold", "stratified_group_kfold"})
_SHARE_TOLERANCE = 1e-9


class WindowSpec(FrozenSpec):
    """The newest events, by number or by days of event time, and which of them count as duplicates.

    `content` also removes events with equal features and label under different ids, `id` only repeated ids.
    """

    events: int | None = Field(default=None, gt=0)
    days: float | None = Field(default=None, gt=0)
    duplicates: Literal["content", "id"] = "content"

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if (self.events is None) == (self.days is None):
            found = "neither events nor days" if self.events is None else "both events and days"
            msg = f"found {found}, expected one of them, like {{events: 100000}} or {{days: 30}}"
            raise ValueError(msg)
        return self


class SplitSpec(FrozenSpec):
    """Shares of rows, split by time, at random, or at random with equal class shares.

    The embargo (seconds of event time, or events) keeps rows shortly before a later part out of the earlier part,
    because their labels were not yet known when the later part began.
    """

    kind: SplitKind = "time"
    train: float = Field(default=0.7, gt=0, lt=1)
    validation: _Share = 0.15
    test: float = Field(default=0.15, gt=0, lt=1)
    embargo: Delay = 0.0
    embargo_events: int = Field(default=0, ge=0)
    seed: int | None = Field(default=None, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        total = self.train + self.validation + self.test
        if not math.isclose(total, 1, abs_tol=_SHARE_TOLERANCE):
            msg = (
                f"found train {self.train:g}, validation {self.validation:g} and test {self.test:g}, {total:g} in all, "
                "expected shares that sum to 1"
            )
            raise ValueError(msg)
        if self.embargo and self.embargo_events:
            msg = "found embargo and embargo_events, expected one of them"
            raise ValueError(msg)
        if self.kind != "time" and (self.embargo or self.embargo_events):
            msg = f"found an embargo with kind {self.kind}, expected it with kind time, the only one that keeps order"
            raise ValueError(msg)
        return self


class CvSpec(FrozenSpec):
    """Cross-validation folds as scikit-learn makes them; `gap` is in events."""

    kind: CvKind = "stratified_kfold"
    folds: int = Field(default=5, ge=2, le=100)
    gap: int = Field(default=0, ge=0)
    shuffle: bool = False
    seed: int | None = Field(default=None, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.gap and self.kind != "time_series":
            msg = f"found gap with kind {self.kind}, expected it with kind time_series, the only one that keeps order"
            raise ValueError(msg)
        if self.shuffle and self.kind == "time_series":
            msg = "found shuffle with kind time_series, expected it with another kind: this one keeps the order of time"
            raise ValueError(msg)
        if self.seed is not None and not self.shuffle:
            msg = "found a seed without shuffle, expected `shuffle: true` beside it: nothing else is left to chance"
            raise ValueError(msg)
        return self


def split_problem(task: Task, *, split: SplitSpec | None = None, cv: CvSpec | None = None) -> str | None:
    """Return why events of this task cannot be split this way, or None if they can."""
    for key, kind in (("split", split and split.kind), ("cv", cv and cv.kind)):
        if kind in _STRATIFIED_KINDS and task is Task.REGRESSION:
            return f"{key}: found kind {kind} for a regression, expected a kind without classes"
    return None
