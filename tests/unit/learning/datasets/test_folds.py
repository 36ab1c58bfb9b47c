"""Folds equal scikit-learn's, and impossible ones are refused before training."""

import numpy as np
import pytest
from sklearn import model_selection

from service.domain.specification.split import CvSpec
from service.domain.stream.events import Task
from service.errors import TrainingDataError
from service.learning.datasets.dataset import TrainingData
from service.learning.datasets.folds import make_folds
from tests.labelled_history import history

RANDOM = np.random.default_rng(11)
LABELS = [bool(one) for one in RANDOM.random(120) < 0.4]
GROUPS = [f"g{one}" for one in RANDOM.integers(0, 24, 120)]
PLAIN, GROUPED = history(LABELS), history(LABELS, groups=GROUPS)


@pytest.mark.parametrize(
    ("data", "spec", "splitter"),
    [
        (PLAIN, CvSpec(kind="kfold"), model_selection.KFold(5)),
        (PLAIN, CvSpec(kind="kfold", shuffle=True), model_selection.KFold(5, shuffle=True, random_state=3)),
        (PLAIN, CvSpec(), model_selection.StratifiedKFold(5)),
        (
            PLAIN,
            CvSpec(folds=4, shuffle=True, seed=8),
            model_selection.StratifiedKFold(4, shuffle=True, random_state=8),
        ),
        (GROUPED, CvSpec(kind="group_kfold"), model_selection.GroupKFold(5)),
        (
            GROUPED,
            CvSpec(kind="group_kfold", shuffle=True),
            model_selection.GroupKFold(5, shuffle=True, random_state=3),
        ),
        (GROUPED, CvSpec(kind="stratified_group_kfold"), model_selection.StratifiedGroupKFold(5)),
        (
            GROUPED,
            CvSpec(kind="stratified_group_kfold", shuffle=True),
            model_selection.StratifiedGroupKFold(5, shuffle=True, random_state=3),
        ),
        (PLAIN, CvSpec(kind="time_series", folds=3, gap=7), model_selection.TimeSeriesSplit(3, gap=7)),
    ],
)
def test_folds_have_scikit_learn_s_members(data: TrainingData, spec: CvSpec, splitter: object) -> None:
    """Every kind of fold equals scikit-learn's, in order or shuffled with the given seed or the model's."""
    assert isinstance(splitter, model_selection.BaseCrossValidator)
    expected = [(train.tolist(), test.tolist()) for train, test in splitter.split(LABELS, LABELS, data.groups)]
    assert [(fold.train.tolist(), fold.test.tolist()) for fold in make_folds(data, spec, seed=3)] == expected


def test_time_series_do_not_score_groups_they_have_learned() -> None:
    """Time series folds equal scikit-learn's, without test rows of groups that are in the training rows."""
    spec = CvSpec(kind="time_series", folds=3)
    groups = ["regular" if number % 3 == 0 else f"g{number}" for number in range(120)]
    data = history(LABELS, groups=groups)
    found, plain = make_folds(data, spec, seed=0), model_selection.TimeSeriesSplit(3).split(LABELS)
    for fold, (train, test) in zip(found, plain, strict=True):
        assert fold.train.tolist() == train.tolist()
        assert fold.test.tolist() == [row for row in test if groups[row] not in {groups[one] for one in train}]


@pytest.mark.parametrize(
    ("data", "spec", "message"),
    [
        (history(LABELS, groups=["a", "b"] * 60), CvSpec(kind="group_kfold"), "2 groups for 5 folds"),
        (history(LABELS, groups=["a", "b"] * 60), CvSpec(kind="stratified_group_kfold"), "2 groups for 5 folds"),
        (PLAIN, CvSpec(kind="group_kfold"), "no event with a group"),
        (PLAIN, CvSpec(kind="stratified_group_kfold"), "no event with a group"),
        (GROUPED, CvSpec(), "expected stratified_group_kfold or time_series"),
        (GROUPED, CvSpec(kind="kfold"), "expected group_kfold or time_series"),
        (history([True] * 97 + [False] * 3), CvSpec(), "3 events of the class False for 5 folds"),
        (history([True] * 50), CvSpec(), "only the class True"),
        (history([True] * 50), CvSpec(kind="kfold"), "only the class True in what fold 1 learns"),
        (history([True] * 20 + [False] * 5), CvSpec(kind="kfold"), "only the class True in what fold 5 learns"),
        (history([True, False]), CvSpec(kind="kfold"), "2 events for 5 folds"),
        (PLAIN, CvSpec(kind="time_series", gap=110), "120 events for 5 folds and a gap of 110"),
        (history(LABELS, groups=["a"] * 120), CvSpec(kind="time_series"), "one side of fold 1"),
        (history([1.0] * 50, task=Task.REGRESSION), CvSpec(), "for a regression"),
        (history([]), CvSpec(kind="kfold"), "0 events for 5 folds"),
    ],
)
def test_what_cannot_be_folded_is_refused(data: TrainingData, spec: CvSpec, message: str) -> None:
    """Impossible folds are refused before training, with what was found and what was expected."""
    with pytest.raises(TrainingDataError, match=message):
        make_folds(data, spec, seed=0)


@pytest.mark.parametrize("count", range(2, 40))
@pytest.mark.parametrize(("folds_", "gap"), [(2, 0), (3, 4), (5, 0), (5, 3)])
def test_a_time_series_is_refused_exactly_where_scikit_learn_would_fail(count: int, folds_: int, gap: int) -> None:
    """A time series is refused exactly where scikit-learn would fail, for any number of events, folds and gap."""
    splitter = model_selection.TimeSeriesSplit(folds_, gap=gap)
    try:
        expected = len([*splitter.split(range(count))])
    except ValueError:
        expected = 0
    data, spec = history([1.0] * count, task=Task.REGRESSION), CvSpec(kind="time_series", folds=folds_, gap=gap)
    try:
        found = len(make_folds(data, spec, seed=0))
    except TrainingDataError:
        found = 0
    assert found == expected
