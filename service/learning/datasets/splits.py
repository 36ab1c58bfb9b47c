"""Splits of training data into train and validation parts, and a test part that can be opened once."""

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
"""Folds into which stratified groups are dealt; each part gets its share of them."""

GroupNumbers: TypeAlias = npt.NDArray[np.int64]
PartSizes: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class SplitRows:
    """The rows of each part, in order; rows under an embargo or with crossing groups are in none."""

    train: Indices
    validation: Indices
    test: Indices
    embargoed: int = 0
    crossing: int = 0


class TestPart:
    """The data of the final evaluation, available once; `on_open` is called before they are handed out."""

    __test__ = False

    def __init__(self, data: TrainingData, on_open: Callable[[], None]) -> None:
        self._data: TrainingData | None = data
        self._size = len(data)
        self._on_open = on_open

    def __len__(self) -> int:
        """Return the number of events, which reveals nothing about them."""
        return self._size

    def __reduce__(self) -> NoReturn:
        """Raise RefusedError, because a copy could be opened again."""
        msg = "found a copy being made of the test part, expected it to be opened once, where it is"
        raise RefusedError(msg)

    def open(self) -> TrainingData:
        """Return the events; raise RefusedError the second time, even if `on_open` failed the first time."""
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
    """Split the data; raise TrainingDataError for an empty part or a missing class, DataLeakError for shared data.

    `seed` counts if the specification has none. Without `by_content`, equal events under different ids are no leak.
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
    """Return the rows of each part; without groups and embargo each row is in exactly one."""
    if spec.kind == "time":
        return _by_time(data, spec)
    groups, given = data.groups, seed if spec.seed is None else spec.seed
    if spec.kind == "stratified":
        return _stratified(data, spec, groups=groups, seed=given)
    if groups is not None:
        return _grouped(groups, spec, seed=given)
    return _draw_parts(len(data), part_sizes(len(data), spec), partial(train_test_split, random_state=given))


def part_sizes(count: int, spec: SplitSpec) -> PartSizes:
    """Return the sizes of train, validation and test parts; boundaries are rounded."""
    first, last = round(count * spec.train), round(count * (spec.train + spec.validation))
    return first, last - first, count - last


def without_shared_groups(rows: Indices, earlier: Indices, groups: GroupNumbers | None) -> Indices:
    """Return the rows whose groups have no event in the earlier part."""
    return rows if groups is None else rows[~np.isin(groups[rows], groups[earlier])]


def _by_time(data: TrainingData, spec: SplitSpec) -> SplitRows:
    """Split by time; events of a group that the earlier part has are left out of later ones."""
    first, second, _ = np.cumsum(part_sizes(len(data), spec)).tolist()
    rows, groups = np.arange(len(data)), data.groups
    train = _before_embargo(first, rows[:first], data, spec)
    validation = _before_embargo(second, rows[first:second], data, spec)
    own = without_shared_groups(validation, train, groups)
    test = without_shared_groups(rows[second:], np.concatenate([train, own]), groups)
    crossing = len(validation) - len(own) + len(data) - second - len(test)
    return SplitRows(train, own, test, second - len(train) - len(validation), crossing)


def _before_embargo(boundary: int, rows: Indices, data: TrainingData, spec: SplitSpec) -> Indices:
    """Return the rows that are not within the embargo before the boundary."""
    if spec.embargo_events:
        return rows[: max(len(rows) - spec.embargo_events, 0)]
    if not spec.embargo or boundary >= len(data):
        return rows
    return np.asarray(rows[data.times[rows] <= data.times[boundary] - round(spec.embargo * 1000)])


def _grouped(groups: GroupNumbers, spec: SplitSpec, *, seed: int) -> SplitRows:
    """Split by shares of groups, as scikit-learn does."""
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
    """Build the parts from folds, because scikit-learn has no stratified split of groups."""
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
    """Draw the test part from all rows, then the validation part from the rest; each in order."""
    rows = np.arange(count)
    if not counts[0] or not counts[2]:
        return SplitRows(rows[: counts[0]], rows[:0], rows[counts[0] :])
    rest, test = map(np.sort, draw(rows, test_size=counts[2]))
    train, validation = map(np.sort, draw(rest, test_size=counts[1])) if counts[1] else (rest, rows[:0])
    return SplitRows(train, validation, test)
