"""Parts equal scikit-learn's, in order, and share nothing."""

import pickle
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold, StratifiedShuffleSplit, train_test_split

from service.domain.specification.split import SplitSpec
from service.domain.stream.events import Task
from service.errors import RefusedError, TrainingDataError
from service.learning.datasets.dataset import TrainingData
from service.learning.datasets.splits import (
    STRATIFIED_GROUP_FOLDS,
    SplitRows,
    TestPart,
    part_sizes,
    split_data,
    split_rows,
)
from tests.labelled_history import history

RANDOM = np.random.default_rng(7)
LABELS = [bool(one) for one in RANDOM.random(200) < 0.3]
GROUPS = [int(one) for one in RANDOM.integers(0, 40, 200)]


def parts(found: SplitRows) -> list[list[int]]:
    """Return the rows of each part."""
    return [found.train.tolist(), found.validation.tolist(), found.test.tolist()]


def by_scikit_learn(count: int, cut: Any, counts: tuple[int, int, int]) -> list[list[int]]:
    """Return the same parts from two steps of scikit-learn's own splitter."""
    rest, test = map(np.sort, cut(np.arange(count), counts[2]))
    train, validation = map(np.sort, cut(rest, counts[1]))
    return [train.tolist(), validation.tolist(), test.tolist()]


@pytest.mark.parametrize("seed", [0, 1, 42])
def test_a_random_split_has_scikit_learn_s_members(seed: int) -> None:
    """A random split equals two calls of `train_test_split` with the same seed."""
    spec = SplitSpec(kind="random")

    def cut(rows: Any, size: int) -> Any:
        return train_test_split(rows, test_size=size, random_state=seed)

    assert parts(split_rows(history(LABELS), spec, seed=seed)) == by_scikit_learn(200, cut, (140, 30, 30))


@pytest.mark.parametrize("seed", [0, 1, 42])
def test_a_stratified_split_has_scikit_learn_s_members(seed: int) -> None:
    """A stratified split equals two uses of `StratifiedShuffleSplit`, and every part has the classes in proportion."""
    spec = SplitSpec(kind="stratified")

    def cut(rows: Any, size: int) -> Any:
        labels = np.array(LABELS)[rows]
        splitter = StratifiedShuffleSplit(n_splits=1, test_size=size, random_state=seed)
        train, test = next(splitter.split(rows, labels))
        return rows[train], rows[test]

    found = split_rows(history(LABELS), spec, seed=seed)
    assert parts(found) == by_scikit_learn(200, cut, (140, 30, 30))
    for rows in (found.train, found.validation, found.test):
        assert np.mean(np.array(LABELS)[rows]) == pytest.approx(np.mean(LABELS), abs=0.03)


@pytest.mark.parametrize("seed", [0, 1, 42])
def test_a_random_split_of_groups_has_scikit_learn_s_members(seed: int) -> None:
    """A random split of groups equals two uses of `GroupShuffleSplit`, with shares of groups."""
    spec = SplitSpec(kind="random")
    data = history(LABELS, groups=GROUPS)
    codes = data.groups
    assert codes is not None

    def cut(rows: Any, size: int) -> Any:
        splitter = GroupShuffleSplit(n_splits=1, test_size=size, random_state=seed)
        train, test = next(splitter.split(rows, groups=codes[rows]))
        return rows[train], rows[test]

    counts = part_sizes(len(set(GROUPS)), spec)
    assert parts(split_rows(data, spec, seed=seed)) == by_scikit_learn(200, cut, counts)


@pytest.mark.parametrize("seed", [0, 1, 42])
def test_a_stratified_split_of_groups_is_made_of_scikit_learn_s_folds(seed: int) -> None:
    """Three of twenty folds of `StratifiedGroupKFold` become the test part, and three the validation part."""
    data = history(LABELS, groups=GROUPS)
    splitter = StratifiedGroupKFold(n_splits=STRATIFIED_GROUP_FOLDS, shuffle=True, random_state=seed)
    dealt = [test.tolist() for _, test in splitter.split(LABELS, LABELS, data.groups)]
    expected = [sorted(chain.from_iterable(part)) for part in (dealt[6:], dealt[3:6], dealt[:3])]
    assert parts(split_rows(data, SplitSpec(kind="stratified"), seed=seed)) == expected


def test_the_seed_of_the_specification_comes_first() -> None:
    """The model's seed is used only if the split has none."""
    data = history(LABELS)
    named = split_rows(data, SplitSpec(kind="random", seed=5), seed=9)
    assert parts(named) == parts(split_rows(data, SplitSpec(kind="random"), seed=5))
    assert parts(named) != parts(split_rows(data, SplitSpec(kind="random"), seed=9))


def test_a_split_by_time_keeps_order_and_takes_the_shares() -> None:
    """A split by time takes the earliest 70 percent, the next 15, and the last 15."""
    found = parts(split_rows(history(LABELS), SplitSpec(), seed=0))
    assert found == [list(range(140)), list(range(140, 170)), list(range(170, 200))]


def test_an_embargo_in_seconds_leaves_out_what_came_shortly_before_a_border() -> None:
    """No event within the ten seconds of embargo before the next part is in the earlier part."""
    found = split_rows(history(LABELS), SplitSpec(embargo=10), seed=0)
    assert parts(found) == [list(range(131)), list(range(140, 161)), list(range(170, 200))]
    assert (found.embargoed, found.crossing) == (18, 0)


def test_an_embargo_in_events_is_scikit_learn_s_gap() -> None:
    """An embargo in events leaves out that many rows at the end of each earlier part."""
    found = split_rows(history(LABELS), SplitSpec(embargo_events=10), seed=0)
    assert parts(found) == [list(range(130)), list(range(140, 160)), list(range(170, 200))]


def test_without_a_validation_part_the_embargo_stands_before_the_test_part() -> None:
    """A share of 0 makes no validation part, and the embargo stands before the test part."""
    found = split_rows(history(LABELS), SplitSpec(train=0.8, validation=0, test=0.2, embargo=5), seed=0)
    assert parts(found) == [list(range(156)), [], list(range(160, 200))]


def test_a_group_that_spans_a_border_stays_with_the_past() -> None:
    """Later events of a group that spans a boundary are in no part, so that training does not see its future."""
    groups = ["a"] * 6 + ["b"] * 2 + ["a", "c"]
    data = history([True, False] * 5, groups=groups)
    found = split_rows(data, SplitSpec(train=0.5, validation=0.2, test=0.3), seed=0)
    assert parts(found) == [[0, 1, 2, 3, 4], [6], [9]]
    assert found.crossing == 3


seeds = st.integers(0, 2**32 - 1)


@st.composite
def shares(draw: st.DrawFn) -> SplitSpec:
    """Return any split that has room for each part."""
    test, validation = draw(st.sampled_from([0.1, 0.2, 0.3])), draw(st.sampled_from([0.0, 0.1, 0.25]))
    kind = draw(st.sampled_from(["time", "random", "stratified"]))
    embargo = draw(st.sampled_from([0, 3])) if kind == "time" else 0
    return SplitSpec(kind=kind, train=1 - test - validation, validation=validation, test=test, embargo_events=embargo)


@settings(max_examples=200, deadline=None)
@given(shares(), seeds, st.integers(40, 120), st.sampled_from([None, 2, 9, 30]))
def test_parts_share_neither_rows_nor_groups(spec: SplitSpec, seed: int, count: int, kinds: int | None) -> None:
    """Rows and groups are in at most one part, left-out rows are counted, parts are in order, or it is refused."""
    labels = [number % 3 == 0 for number in range(count)]
    groups = None if kinds is None else [number * 7 % kinds for number in range(count)]
    data = history(labels, groups=groups)
    if kinds == 2 and spec.kind != "time" and (spec.validation or spec.test < 0.3):
        with pytest.raises(TrainingDataError, match="groups"):
            split_rows(data, spec, seed=seed)
        return
    found = split_rows(data, spec, seed=seed)
    rows = [row for part in parts(found) for row in part]
    assert len(rows) == len(set(rows)) == count - found.embargoed - found.crossing
    assert all(part == sorted(part) for part in parts(found))
    if groups is not None:
        seen = [{groups[row] for row in part} for part in parts(found)]
        assert sum(map(len, seen)) == len(set.union(*seen))


def divided(data: TrainingData, spec: SplitSpec, told: list[str]) -> Any:
    """Return a split that records when its test part is opened."""
    return split_data(data, spec, seed=0, on_open=lambda: told.append("opened"))


def test_the_test_part_opens_once_and_tells() -> None:
    """The opening is recorded before the events are returned; a second opening and a copy are refused."""
    told: list[str] = []
    found = divided(history(LABELS), SplitSpec(), told)
    assert (len(found.train), len(found.validation), len(found.test), told) == (140, 30, 30, [])
    with pytest.raises(RefusedError, match="found a copy"):
        pickle.dumps(found)
    assert found.test.open().table.get_column("offset").to_list() == list(range(170, 200))
    assert told == ["opened"]
    with pytest.raises(RefusedError, match="opened already"):
        found.test.open()
    assert told == ["opened"]


def test_a_test_part_whose_opening_cannot_be_recorded_is_not_given() -> None:
    """If the opening cannot be recorded, the events are not returned, then or later."""

    def failing() -> None:
        raise ConnectionError

    part = TestPart(history(LABELS), failing)
    with pytest.raises(ConnectionError):
        part.open()
    with pytest.raises(RefusedError):
        part.open()


@pytest.mark.parametrize(
    ("data", "spec", "message"),
    [
        (history([True] * 100), SplitSpec(), "only the class True in the train part"),
        (history([True] * 100), SplitSpec(kind="stratified"), "only the class True in the window"),
        (history([True] * 99 + [False]), SplitSpec(kind="stratified"), "1 events of the class False, expected 3"),
        (history(LABELS, groups=[1] * 200), SplitSpec(), "of which 0 fell to the embargo and 60 have groups"),
        (history(LABELS, groups=[1] * 200), SplitSpec(kind="random"), "found 1 groups, too few"),
        (history(LABELS, groups=[1, 2] * 100), SplitSpec(kind="stratified"), "found 2 groups, too few"),
        (history(LABELS), SplitSpec(embargo="1h"), "no event for the train and the validation part"),
        (history(LABELS[:2]), SplitSpec(), "no event for the test part"),
        (history([1.0] * 20, task=Task.REGRESSION), SplitSpec(kind="stratified"), "for a regression"),
        (history([f"c{n % 25}" for n in range(100)], task=Task.MULTICLASS), SplitSpec(kind="stratified"), "25 classes"),
    ],
)
def test_what_cannot_be_divided_is_refused(data: TrainingData, spec: SplitSpec, message: str) -> None:
    """Data that cannot be split are refused before training, with what was found and what may help."""
    with pytest.raises(TrainingDataError, match=message):
        divided(data, spec, [])


def test_a_regression_needs_no_classes() -> None:
    """A regression may have equal labels."""
    assert len(divided(history([1.0] * 100, task=Task.REGRESSION), SplitSpec(), []).train) == 70
