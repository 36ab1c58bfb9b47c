"""Batch estimators as candidates are fitted on columns with the same weights, and frozen afterwards."""

import time

import numpy as np
import pytest

from service.domain.specification.candidates import CandidateSpec, SearchBudget, TrialRecipe
from service.domain.stream.events import Task
from service.errors import EstimatorError, SpecificationError
from service.learning.estimators.candidates import ModelContext, require_candidates
from service.learning.search.batch_trainer import select_trainer
from service.learning.search.context import TrialContext
from service.learning.search.executors import SerialExecutor
from service.learning.search.run_trial import refit
from service.learning.search.search import SearchPlan, search_candidates
from service.learning.search.table_rows import TableRows
from service.learning.search.trials import InMemoryRows, TrialState
from tests.labelled_history import history

GROUND = ModelContext(Task.BINARY, 7, estimator="linear_model.LogisticRegression")
LABELS = [number % 10 > 4 for number in range(300)]
CONTENTS = [float(number % 10) + number / 1000 for number in range(300)]
NAMES = ["batch.sklearn.ensemble.RandomForestClassifier", "batch.lightgbm.LGBMClassifier"]


def course() -> TrialContext:
    """Return a context with two thirds for training and one third for validation."""
    rows = TableRows(history(LABELS, contents=CONTENTS))
    fold = (np.arange(200), np.arange(200, 300))
    return TrialContext(lambda: rows, [fold], GROUND, "Accuracy", time.monotonic, trainer=select_trainer)


def test_rows_are_the_events_of_the_table() -> None:
    """Rows are returned in the requested order, with labels, times and weights of the same rows."""
    data = history(LABELS, contents=CONTENTS)
    rows, asked = TableRows(data), np.array([5, 3, 250])
    events = [*data.events()]
    assert rows.take(asked) == [events[at] for at in asked]
    assert rows.labels(asked) == [events[at].y for at in asked]
    assert rows.times(asked) == [events[at].ts for at in asked]
    assert rows.weights(asked) == [1.0, 1.0, 1.0]
    assert rows.frame(asked)["a"].to_list() == [events[at].x["a"] for at in asked]
    assert len(rows) == 300


def test_a_search_holds_both_kinds_side_by_side() -> None:
    """A frozen batch estimator and one that goes on learning are scored on the same rows."""
    given = [CandidateSpec(name=f"c{at}", estimator=name) for at, name in enumerate(NAMES)]
    plan = SearchPlan([CandidateSpec(name="own"), *given], SearchBudget(trials=3), 7)
    found = search_candidates(plan, course(), make_executor=SerialExecutor)
    assert [one.outcome.state for one in found.trials] == [TrialState.COMPLETE] * 3
    assert all(one.outcome.value == 1.0 for one in found.trials[1:])


@pytest.mark.parametrize("name", NAMES)
def test_what_was_fitted_predicts_without_learning(name: str) -> None:
    """Later events do not change the predictions of a fitted model."""
    prepared = course()
    rows = prepared.load()
    model = refit(TrialRecipe("one", name), prepared, rows, rows=np.arange(200))
    events = rows.take(np.arange(200, 300))
    first = model.learn(events)
    assert model.learn(events) == first
    assert model.estimator.is_fitted


def test_class_weights_weigh_in_a_fit() -> None:
    """A class with a thousandfold weight is predicted where both classes are equally likely."""
    rows = TableRows(history([True, False] * 100, contents=[1.0] * 200))
    name = "batch.sklearn.linear_model.LogisticRegression"
    prepared = TrialContext(lambda: rows, [], GROUND, "Accuracy", time.monotonic, trainer=select_trainer)
    for label, chance in (("true", True), ("false", False)):
        model = refit(TrialRecipe("one", name, class_weights={label: 1000.0}), prepared, rows, rows=np.arange(200))
        said = model.estimator.predict_proba_one({"a": 1.0})
        assert said[chance] > 0.9


def test_rows_without_columns_are_refused() -> None:
    """The batch trainer refuses rows without columns and names their type."""
    prepared = course()
    events = InMemoryRows([*history(LABELS).events()])
    with pytest.raises(EstimatorError, match="found rows of InMemoryRows"):
        refit(TrialRecipe("one", NAMES[0]), prepared, events, rows=np.arange(10))


@pytest.mark.parametrize(("given", "place"), [({"epochs": 3}, "epochs"), ({"warm_start": True}, "warm_start")])
def test_what_is_fitted_once_has_no_second_pass(given: dict[str, object], place: str) -> None:
    """Epochs and warm starts are refused for batch estimators, and the error names the key."""
    one = CandidateSpec.model_validate({"name": "b", "estimator": {NAMES[1]: {}}, **given})
    with pytest.raises(SpecificationError, match=rf"candidates\[0\].{place}: "):
        require_candidates([one], GROUND, trials=1)
