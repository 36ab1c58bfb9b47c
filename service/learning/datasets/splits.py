"""Training data in three parts: train, validation and a test part that is opened once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold, train_test_split

from service.domain.specification.split import SplitSpec
from service.domain.stream.events import Task
from service.errors import RefusedError, TrainingDataError
from service.learning.datasets.dataset import Indices, TrainingData
from service.learning.datasets.feasibility import (
    require_class_members,
    require_classes,
    require_groups,
    require_nonempty_parts,
)
from service.learning.datasets.leakage import require_no_leak

STRATIFIED_GROUP_FOLDS = 20
"""Stratified groups are dealt into so many folds, of which each part gets its share."""

GroupNumbers: TypeAlias = npt.NDArray[np.int64]
PartSizes: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class SplitRows:
    """The rows of each part, in order; an embargo, and groups that would cross, leave some in none."""

    train: Indices
    validation: Indices
    test: Indices
    embargoed: int = 0
    crossing: int = 0


class TestPart:
    """What a model is judged by in the end: `opened` is told, and only then is it given, once."""

    __test__ = False

    def __init__(self, data: TrainingData, on_open: Callable[[], None]) -> None:
        self._data: TrainingData | None = data
        self._size = len(data)
        self._on_open = on_open

    def __len__(self) -> int:
        """How many events, which tells nothing of them."""
        return self._size

    def __reduce__(self) -> NoReturn:
        """RefusedError: a copy could be opened again."""
        msg = "found a copy being made of the test part, expected it to be opened once, where it is"
        raise RefusedError(msg)

    def open(self) -> TrainingData:
        """The events; RefusedError the second time, even where telling `opened` failed the first."""
        if self._data is None:
            msg = (
                "found the test part opened already, expected once per training job: whoever looks twice chooses by "
                "it. Choose by the validation part, or begin another job with `headrace job start`"
            )
            raise RefusedError(msg)
        data, self._data = self._data, None
        self._on_open()
        return data


@dataclass(frozen=True, slots=True)
class DataSplit:
    """The parts, and how many events are in none of them."""

    train: TrainingData
    validation: TrainingData
    test: TestPart
    embargoed: int
    crossing: int


def split_data(
    data: TrainingData, spec: SplitSpec, *, seed: int, on_open: Callable[[], None], by_content: bool = True
) -> DataSplit:
    """TrainingDataError where a part would be empty or lack a class, LeakError where parts would share anything.

    `seed` counts where the specification has none. Without `by_content` equal events under different ids are no leak.
    """
    found = split_rows(data, spec, seed=seed)
    parts = {name: data.take(getattr(found, name)) for name in ("train", "validation", "test")}
    require_nonempty_parts(
        spec, [len(part) for part in parts.values()], embargoed=found.embargoed, crossing=found.crossing
    )
    require_classes(parts["train"], where="the train part")
    require_no_leak(parts, by_content=by_content)
    test = TestPart(parts["test"], on_open)
    return DataSplit(parts["train"], parts["validation"], test, found.embargoed, found.crossing)


def split_rows(data: TrainingData, spec: SplitSpec, *, seed: int) -> SplitRows:
    """Which rows are in which part; without groups and embargo each row is in one."""
    if spec.kind == "time":
        return _by_time(data, spec)
    groups, given = data.groups, seed if spec.seed is None else spec.seed
    if spec.kind == "stratified":
        return _stratified(data, spec, groups=groups, seed=given)
    if groups is not None:
        return _grouped(groups, spec, seed=given)
    return _draw_parts(len(data), part_sizes(len(data), spec), partial(train_test_split, random_state=given))


def part_sizes(count: int, spec: SplitSpec) -> PartSizes:
    """Of train, validation and test; borders are rounded."""
    first, last = round(count * spec.train), round(count * (spec.train + spec.validation))
    return first, last - first, count - last


def without_shared_groups(rows: Indices, earlier: Indices, groups: GroupNumbers | None) -> Indices:
    """The rows whose groups have no event in the earlier part."""
    return rows if groups is None else rows[~np.isin(groups[rows], groups[earlier])]


def _by_time(data: TrainingData, spec: SplitSpec) -> SplitRows:
    """A group that spans a border stays in the earlier part, and leaves the later ones: no part sees its future."""
    first, second, _ = np.cumsum(part_sizes(len(data), spec)).tolist()
    rows, groups = np.arange(len(data)), data.groups
    train = _before_embargo(first, rows[:first], data, spec)
    validation = _before_embargo(second, rows[first:second], data, spec)
    own = without_shared_groups(validation, train, groups)
    test = without_shared_groups(rows[second:], np.concatenate([train, own]), groups)
    crossing = len(validation) - len(own) + len(data) - second - len(test)
    return SplitRows(train, own, test, second - len(train) - len(validation), crossing)


def _before_embargo(boundary: int, rows: Indices, data: TrainingData, spec: SplitSpec) -> Indices:
    """The rows that the embargo before the border leaves."""
    if spec.embargo_events:
        return rows[: max(len(rows) - spec.embargo_events, 0)]
    if not spec.embargo or boundary >= len(data):
        return rows
    return np.asarray(rows[data.times[rows] <= data.times[boundary] - round(spec.embargo * 1000)])


def _grouped(groups: GroupNumbers, spec: SplitSpec, *, seed: int) -> SplitRows:
    """Shares are of groups, as in scikit-learn."""
    count = int(groups.max()) + 1
    counts = part_sizes(count, spec)
    require_groups(count, counts, spec)

    def draw(rows: Indices, *, test_size: int) -> tuple[Indices, Indices]:
        splitter = GroupShuffleSplit(n_splits=1, test_size=test_size, random_state=seed)
        train, test = next(splitter.split(rows, groups=groups[rows]))
        return np.asarray(rows[train]), np.asarray(rows[test])

    return _draw_parts(len(groups), counts, draw)


def _stratified(data: TrainingData, spec: SplitSpec, *, groups: GroupNumbers | None, seed: int) -> SplitRows:
    if data.task is Task.REGRESSION:
        msg = "found kind stratified for a regression, expected time or random: there are no classes"
        raise TrainingDataError(msg)
    labels, counts = data.labels, part_sizes(len(data), spec)
    require_classes(data, where="the window")
    require_class_members(labels, counts)
    if groups is not None:
        return _stratified_groups(labels, groups, spec, seed=seed)

    def draw(rows: Indices, *, test_size: int) -> Any:
        return train_test_split(rows, test_size=test_size, random_state=seed, stratify=labels[rows])

    return _draw_parts(len(data), counts, draw)


def _stratified_groups(labels: npt.NDArray[Any], groups: GroupNumbers, spec: SplitSpec, *, seed: int) -> SplitRows:
    """Scikit-learn has folds of stratified groups and no such split: parts are made of folds."""
    count = int(groups.max()) + 1
    folds = min(STRATIFIED_GROUP_FOLDS, count, int(np.unique(labels, return_counts=True)[1].max()))
    counts = part_sizes(folds, spec)
    require_groups(count, counts, spec)
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    dealt = [test for _, test in splitter.split(labels, labels, groups)]
    last, middle = counts[2], counts[2] + counts[1]
    test, validation, train = (
        np.sort(np.concatenate([np.empty(0, np.intp), *part]))
        for part in (dealt[:last], dealt[last:middle], dealt[middle:])
    )
    return SplitRows(train, validation, test)


def _draw_parts(count: int, counts: PartSizes, draw: Callable[..., Any]) -> SplitRows:
    """First the test part from all, then the validation part from the rest; each in order."""
    rows = np.arange(count)
    if not counts[0] or not counts[2]:
        return SplitRows(rows[: counts[0]], rows[:0], rows[counts[0] :])
    rest, test = map(np.sort, draw(rows, test_size=counts[2]))
    train, validation = map(np.sort, draw(rest, test_size=counts[1])) if counts[1] else (rest, rows[:0])
    return SplitRows(train, validation, test)
