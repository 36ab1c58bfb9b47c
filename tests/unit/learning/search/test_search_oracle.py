"""The scores of trials equal those of a plain river loop over the same events."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from river import linear_model, metrics, optim, preprocessing

from service.domain.specification.candidates import CandidateSpec, SearchBudget, TrialRecipe
from service.domain.stream.events import Event, Task, TopicPartition
from service.learning.engine.microbatch import MicroBatch
from service.learning.engine.prediction_columns import prediction_columns
from service.learning.engine.stepper import Stepper
from service.learning.estimators import build as estimators
from service.learning.estimators.candidates import ModelContext
from service.learning.metrics.prequential import MetricSet
from service.learning.pickling import codec
from service.learning.search.run_trial import refit, run_trial
from service.learning.search.search import SearchPlan, search_candidates
from service.learning.search.trials import Assignment, InMemoryRows, TrialOutcome, TrialState, WarmState
from tests.unit.learning.search.searched import LOGISTIC, RATES, SCALER, alone, course, hold_out, logistic, plan, stream

EVENTS = stream(1200)
RECIPE = TrialRecipe("c", logistic(0.01))


def by_hand(rate: float, metric: Any, events: Sequence[Event] = EVENTS, *, epochs: int = 1) -> float:
    """Train on the first seven tenths, then score each of the others before it is learned."""
    model: Any = preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(rate))
    border = round(len(events) * 0.7)
    for _ in range(epochs):
        for event in events[:border]:
            model.learn_one(event.x, event.y)
    for event in events[border:]:
        chances = model.predict_proba_one(event.x)
        metric.update(event.y, max(chances, key=chances.get) if metric.requires_labels else chances)
        model.learn_one(event.x, event.y)
    return float(metric.get())


def outcome(recipe: TrialRecipe, **changes: Any) -> TrialOutcome:
    """Return the outcome of a single trial."""
    return run_trial(Assignment(0, recipe), course(EVENTS, **changes), InMemoryRows(EVENTS))


@pytest.mark.parametrize(("name", "metric"), [("Accuracy", metrics.Accuracy), ("ROCAUC", metrics.ROCAUC)])
def test_the_best_of_a_grid_is_the_best_by_hand(name: str, metric: Any) -> None:
    """Each value of a searched grid equals brute force with plain river to the last bit; the best is the same."""
    found = search_candidates(plan(logistic({"choice": RATES})), course(EVENTS, metric=name), make_executor=alone())
    expected = {rate: by_hand(rate, metric()) for rate in RATES}
    place = f"estimator[1].{LOGISTIC}.optimizer.optim.SGD.lr"
    complete = [one for one in found.trials if one.outcome.state is TrialState.COMPLETE]
    assert len(complete) >= 4
    assert {one.outcome.value == expected[one.recipe.params[place]] for one in complete} == {True}
    assert found.require_best().recipe.params[place] == max(expected, key=lambda rate: expected[rate])
    assert found.require_best().recipe.estimator == logistic(found.require_best().recipe.params[place])


def test_a_loss_is_minimized() -> None:
    """If a smaller metric is better, the smallest wins."""
    found = search_candidates(
        plan(logistic({"choice": RATES})), course(EVENTS, metric="LogLoss"), make_executor=alone()
    )
    expected = [by_hand(rate, metrics.LogLoss()) for rate in RATES]
    assert [one.outcome.value for one in found.trials[:4]] == expected[:4]
    assert found.require_best().outcome.value == min(expected)


def test_epochs_learn_the_training_part_again() -> None:
    """Two epochs are two passes over the training part, and one over the validation part."""
    found = outcome(TrialRecipe("c", logistic(0.01), epochs=2))
    assert found.value == by_hand(0.01, metrics.Accuracy(), epochs=2)
    assert len(found.steps) == 10


def test_steps_are_the_prequential_score_of_the_training_part() -> None:
    """The last step is what river's own progressive validation returns for the training part."""
    border = round(len(EVENTS) * 0.7)
    model: Any = preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(0.01))
    metric = metrics.Accuracy()
    reached = []
    for at, event in enumerate(EVENTS[:border], start=1):
        metric.update(event.y, model.predict_one(event.x))
        model.learn_one(event.x, event.y)
        if at % (border // 10) == 0:
            reached.append(metric.get())
    assert list(outcome(RECIPE).steps) == reached


def test_without_a_validation_part_the_training_part_decides() -> None:
    """Without a validation part, the prequential score of the training part decides."""
    found = outcome(RECIPE, folds=[(np.arange(1200), np.arange(0))])
    assert found.value == found.steps[-1]


def test_the_best_recipe_is_trained_again_on_more() -> None:
    """A refit trains on the given rows, as river does, and can be interrupted."""
    given = course(EVENTS)
    found = refit(TrialRecipe("c", logistic(0.01), epochs=2), given, InMemoryRows(EVENTS), rows=np.arange(1000))
    model: Any = preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(0.01))
    for event in [*EVENTS[:1000], *EVENTS[:1000]]:
        model.learn_one(event.x, event.y)
    probes = [event.x for event in EVENTS[1000:]]
    assert [found.estimator.predict_proba_one(x) for x in probes] == [model.predict_proba_one(x) for x in probes]
    with pytest.raises(StopIteration):
        refit(RECIPE, given, InMemoryRows(EVENTS), rows=np.arange(1000), check_stop=iter([]).__next__)


@pytest.mark.parametrize("weights", ["balanced", {"true": 3.0}])
def test_class_weights_weigh_what_is_learned(weights: Any) -> None:
    """Balanced weights equal scikit-learn's; they apply to training, not to scoring."""
    border = round(len(EVENTS) * 0.7)
    positive = sum(event.y is True for event in EVENTS[:border])
    factors = {True: border / 2 / positive, False: border / 2 / (border - positive)}
    given = factors if weights == "balanced" else {True: 3.0, False: 1.0}
    model: Any = preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(0.01))
    metric = metrics.Accuracy()
    for event in EVENTS[:border]:
        model.learn_one(event.x, event.y, w=given[bool(event.y)])
    for event in EVENTS[border:]:
        metric.update(event.y, model.predict_one(event.x))
        model.learn_one(event.x, event.y)
    assert outcome(TrialRecipe("c", logistic(0.01), class_weights=weights)).value == metric.get()


def test_folds_are_averaged() -> None:
    """With several folds their mean decides, and later folds are steps too."""
    rows = np.arange(1200)
    folds = [(rows[rows % 3 != part], rows[rows % 3 == part]) for part in range(3)]
    found = outcome(RECIPE, folds=folds)
    parts = []
    for train, test in folds:
        model: Any = preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(0.01))
        metric = metrics.Accuracy()
        for at in train:
            model.learn_one(EVENTS[at].x, EVENTS[at].y)
        for at in test:
            metric.update(EVENTS[at].y, model.predict_one(EVENTS[at].x))
            model.learn_one(EVENTS[at].x, EVENTS[at].y)
        parts.append(metric.get())
    assert list(found.folds) == parts
    assert found.value == pytest.approx(sum(parts) / 3, abs=1e-15)
    assert len(found.steps) == 12


def test_a_warm_start_goes_on_from_the_champion() -> None:
    """A state trained on the beginning and then on the rest equals a model trained on everything."""
    champion = estimators.estimator_from_expression(logistic(0.01), task=Task.BINARY, seed=42)
    for event in EVENTS[:300]:
        champion.learn_one(event.x, event.y)
    warm = WarmState(codec.dumps(champion), logistic(0.01), until_ms=EVENTS[299].ts)
    folds = [(np.arange(300, 840), np.arange(840, 1200))]
    found = outcome(TrialRecipe("c", logistic(0.01), warm_start=True), folds=folds, warm_state=warm)
    assert found.value == by_hand(0.01, metrics.Accuracy())


def test_a_warm_start_that_has_seen_the_validation_part_is_left_out() -> None:
    """A champion that has learned the validation part is refused as a warm start with a reason; others are tried."""
    warm = WarmState(b"", logistic(0.01), until_ms=EVENTS[-1].ts)
    given = [CandidateSpec(name="warm", estimator=logistic(0.01), warm_start=True), CandidateSpec(name="anew")]
    found = search_candidates(
        SearchPlan(given, SearchBudget(), 1), course(EVENTS, warm_state=warm), make_executor=alone()
    )
    assert found.require_best().recipe.candidate == "anew"
    assert "a score on what it has learned would say nothing" in found.refused["warm"]


def test_micro_batches_are_those_of_the_learner() -> None:
    """With `learn.batch`, the score equals that of the learner's own micro-batches."""
    ground = ModelContext(Task.BINARY, 42, batch_size=64, estimator=[SCALER, LOGISTIC])
    folds = [(np.arange(768), np.arange(768, 1152))]
    found = outcome(TrialRecipe("c", logistic(0.1)), model_context=ground, folds=folds)
    stepper = Stepper(
        codec.dumps(estimators.estimator_from_expression(logistic(0.1), task=Task.BINARY, seed=42)), task=Task.BINARY
    )
    learned = MicroBatch(stepper, size=64).learn(TopicPartition("events", 0), EVENTS[:1152])
    labels, chances = prediction_columns(
        learned.predictions, task=Task.BINARY, gives_probabilities=True, gives_pairs=False
    )
    family = MetricSet(["Accuracy"], seed=42)
    assert chances is not None
    family.update([event.y for event in EVENTS[768:1152]], labels[768:], chances[768:])
    assert (found.state, found.value) == (TrialState.COMPLETE, family.report()["Accuracy"])


@pytest.mark.parametrize(
    ("task", "estimator", "metric", "own"),
    [
        (Task.MULTICLASS, "naive_bayes.GaussianNB", "MacroF1", metrics.MacroF1),
        (Task.REGRESSION, "tree.HoeffdingTreeRegressor", "MAE", metrics.MAE),
    ],
)
def test_other_tasks(task: Task, estimator: str, metric: str, own: Any) -> None:
    """Multiclass and regression are scored as river scores them."""
    events = stream(600, task=task)
    ground = ModelContext(task, 42, estimator=estimator)
    given = course(events, model_context=ground, metric=metric, folds=hold_out(600))
    found = run_trial(Assignment(0, TrialRecipe("c", estimator)), given, InMemoryRows(events))
    model, expected = estimators.estimator_from_expression(estimator, task=task, seed=42), own()
    for at, event in enumerate(events):
        if at >= 420:
            expected.update(event.y, model.predict_one(event.x))
        model.learn_one(event.x, event.y)
    assert found.value == expected.get()
