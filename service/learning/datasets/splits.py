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
from service.learning.datasets.feasibility import require_classes, require_filled, require_groups, require_members
from service.learning.datasets.leakage import require_no_leak

FOLDS = 20
"""Stratified groups are dealt into so many folds, of which each part gets its share."""

Groups: TypeAlias = npt.NDArray[np.int64]
Sizes: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Membership:
    """The rows of each part, in order; an embargo, and groups that would cross, leave some in none."""

    train: Indices
    validation: Indices
    test: Indices
    embargoed: int = 0
    crossing: int = 0


class TestPart:
    """What a model is judged by in the end: `opened` is told, and only then is it given, once."""

    __test__ = False

    def __init__(self, data: TrainingData, opened: Callable[[], None]) -> None:
        self._data: TrainingData | None = data
        self._size = len(data)
        self._opened = opened

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
        self._opened()
        return data


@dataclass(frozen=True, slots=True)
class Split:
    """The parts, and how many events are in none of them."""

    train: TrainingData
    validation: TrainingData
    test: TestPart
    embargoed: int
    crossing: int


def split(
    data: TrainingData, spec: SplitSpec, *, seed: int, opened: Callable[[], None], by_content: bool = True
) -> Split:
    """TrainingDataError where a part would be empty or lack a class, LeakError where parts would share anything.

    `seed` counts where the specification has none. Without `by_content` equal events under different ids are no leak.
    """
    found = membership(data, spec, seed=seed)
    parts = {name: data.take(getattr(found, name)) for name in ("train", "validation", "test")}
    require_filled(spec, [len(part) for part in parts.values()], embargoed=found.embargoed, crossing=found.crossing)
    require_classes(parts["train"], where="the train part")
    require_no_leak(parts, by_content=by_content)
    test = TestPart(parts["test"], opened)
    return Split(parts["train"], parts["validation"], test, found.embargoed, found.crossing)


def membership(data: TrainingData, spec: SplitSpec, *, seed: int) -> Membership:
    """Which rows are in which part; without groups and embargo each row is in one."""
    if spec.kind == "time":
        return _by_time(data, spec)
    groups, given = data.groups, seed if spec.seed is None else spec.seed
    if spec.kind == "stratified":
        return _stratified(data, spec, groups=groups, seed=given)
    if groups is not None:
        return _grouped(groups, spec, seed=given)
    return _drawn(len(data), sizes(len(data), spec), partial(train_test_split, random_state=given))


def sizes(count: int, spec: SplitSpec) -> Sizes:
    """Of train, validation and test; borders are rounded."""
    first, last = round(count * spec.train), round(count * (spec.train + spec.validation))
    return first, last - first, count - last


def without_crossing(rows: Indices, earlier: Indices, groups: Groups | None) -> Indices:
    """The rows whose groups have no event in the earlier part."""
    return rows if groups is None else rows[~np.isin(groups[rows], groups[earlier])]


def _by_time(data: TrainingData, spec: SplitSpec) -> Membership:
    """A group that spans a border stays in the earlier part, and leaves the later ones: no part sees its future."""
    first, second, _ = np.cumsum(sizes(len(data), spec)).tolist()
    rows, groups = np.arange(len(data)), data.groups
    train = _before(first, rows[:first], data, spec)
    validation = _before(second, rows[first:second], data, spec)
    own = without_crossing(validation, train, groups)
    test = without_crossing(rows[second:], np.concatenate([train, own]), groups)
    crossing = len(validation) - len(own) + len(data) - second - len(test)
    return Membership(train, own, test, second - len(train) - len(validation), crossing)


def _before(border: int, rows: Indices, data: TrainingData, spec: SplitSpec) -> Indices:
    """The rows that the embargo before the border leaves."""
    if spec.embargo_events:
        return rows[: max(len(rows) - spec.embargo_events, 0)]
    if not spec.embargo or border >= len(data):
        return rows
    return np.asarray(rows[data.times[rows] <= data.times[border] - round(spec.embargo * 1000)])


def _grouped(groups: Groups, spec: SplitSpec, *, seed: int) -> Membership:
    """Shares are of groups, as in scikit-learn."""
    count = int(groups.max()) + 1
    counts = sizes(count, spec)
    require_groups(count, counts, spec)

    def draw(rows: Indices, *, test_size: int) -> tuple[Indices, Indices]:
        splitter = GroupShuffleSplit(n_splits=1, test_size=test_size, random_state=seed)
        train, test = next(splitter.split(rows, groups=groups[rows]))
        return np.asarray(rows[train]), np.asarray(rows[test])

    return _drawn(len(groups), counts, draw)


def _stratified(data: TrainingData, spec: SplitSpec, *, groups: Groups | None, seed: int) -> Membership:
    if data.task is Task.REGRESSION:
        msg = "found kind stratified for a regression, expected time or random: there are no classes"
        raise TrainingDataError(msg)
    labels, counts = data.labels, sizes(len(data), spec)
    require_classes(data, where="the window")
    require_members(labels, counts)
    if groups is not None:
        return _stratified_groups(labels, groups, spec, seed=seed)

    def draw(rows: Indices, *, test_size: int) -> Any:
        return train_test_split(rows, test_size=test_size, random_state=seed, stratify=labels[rows])

    return _drawn(len(data), counts, draw)


def _stratified_groups(labels: npt.NDArray[Any], groups: Groups, spec: SplitSpec, *, seed: int) -> Membership:
    """Scikit-learn has folds of stratified groups and no such split: parts are made of folds."""
    count = int(groups.max()) + 1
    folds = min(FOLDS, count, int(np.unique(labels, return_counts=True)[1].max()))
    counts = sizes(folds, spec)
    require_groups(count, counts, spec)
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    dealt = [test for _, test in splitter.split(labels, labels, groups)]
    last, middle = counts[2], counts[2] + counts[1]
    test, validation, train = (
        np.sort(np.concatenate([np.empty(0, np.intp), *part]))
        for part in (dealt[:last], dealt[last:middle], dealt[middle:])
    )
    return Membership(train, validation, test)


def _drawn(count: int, counts: Sizes, draw: Callable[..., Any]) -> Membership:
    """First the test part from all, then the validation part from the rest; each in order."""
    rows = np.arange(count)
    if not counts[0] or not counts[2]:
        return Membership(rows[: counts[0]], rows[:0], rows[counts[0] :])
    rest, test = map(np.sort, draw(rows, test_size=counts[2]))
    train, validation = map(np.sort, draw(rest, test_size=counts[1])) if counts[1] else (rest, rows[:0])
    return Membership(train, validation, test)
