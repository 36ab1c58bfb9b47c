"""Predicts, then learns, in one pass over an event: computes exactly what river does, at lower cost.

A pipeline routes every call through its plan and transforms the features twice. Where the steps are plain unsupervised
transformers before a supervised model, the fast path calls them directly. A leading `StandardScaler` is fused, because
its statistics before and after learning come from the same sums. Predictions and state equal river's bit for bit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from river import base, compose, preprocessing

from service.domain.stream.events import Features, Label, Task
from service.learning.estimators.capabilities import final_step
from service.learning.river_internals import is_supervised

RawPrediction: TypeAlias = Any
PredictFn: TypeAlias = Callable[[Features], RawPrediction]
StepFn: TypeAlias = Callable[[Features, Label | None], RawPrediction]
LearnFn: TypeAlias = Callable[[Features, Label | None], None]


@dataclass(frozen=True, slots=True)
class FastPath:
    """The calls that run one estimator, and the form of its predictions.

    `step` predicts, learns, and returns the prediction; `learn` learns an event that was predicted before. A prediction
    is `{label: probability}` if `gives_probabilities`, else the label or value itself. It is (label, probabilities) if
    `gives_pairs`, because the model's own label need not be its most probable class.
    """

    step: StepFn
    predict: PredictFn
    learn: LearnFn
    gives_probabilities: bool
    gives_pairs: bool


def make_fast_path(estimator: Any, *, task: Task) -> FastPath:
    """Return the fastest path that computes what the estimator's `predict` and then `learn_one` do."""
    final = final_step(estimator)
    probabilities = task is not Task.REGRESSION and _has_probabilities(final)
    pairs = probabilities and _has_own_label(final)
    chain = _unsupervised_chain(estimator)
    if chain and not pairs:
        transformers, model = chain
        predict = model.predict_proba_one if probabilities else model.predict_one
        step = _scaled_step(transformers, model, predict) or _chained_step(transformers, model, predict)
        learn = _scaled_learn(transformers, model) or _chained_learn(transformers, model)
        predict = _scaled_predict(transformers, predict) or _chained_predict(transformers, predict)
        return FastPath(step, predict, learn, probabilities, gives_pairs=False)
    predict = _whole_predict(estimator, probabilities=probabilities, pairs=pairs)
    return FastPath(_whole_step(estimator, predict), predict, estimator.learn_one, probabilities, pairs)


def _has_probabilities(final: Any) -> bool:
    method = getattr(type(final), "predict_proba_one", None)
    if method is None or method is base.Classifier.predict_proba_one:
        return False
    try:
        final.clone().predict_proba_one({})
    except NotImplementedError:
        return False
    except Exception:  # noqa: BLE001 - any other failure says only that an empty event is no event
        return True
    return True


def _has_own_label(final: Any) -> bool:
    return getattr(type(final), "predict_one", None) is not base.Classifier.predict_one


def _unsupervised_chain(estimator: Any) -> tuple[list[Any], Any] | None:
    if not isinstance(estimator, compose.Pipeline):
        return None
    *heads, final = estimator.steps.values()
    plain = all(
        isinstance(head, base.Transformer)
        and not isinstance(head, compose.TransformerUnion | base.AnomalyFilter)
        and not is_supervised(head)
        for head in heads
    )
    if not plain or isinstance(final, base.Transformer) or not is_supervised(final):
        return None
    return heads, final


def _whole_predict(estimator: Any, *, probabilities: bool, pairs: bool) -> PredictFn:
    if not pairs:
        predict: PredictFn = estimator.predict_proba_one if probabilities else estimator.predict_one
        return predict
    label, probability = estimator.predict_one, estimator.predict_proba_one
    return lambda x: (label(x), probability(x))


def _whole_step(estimator: Any, predict: PredictFn) -> StepFn:
    learn = estimator.learn_one

    def step(x: Features, y: Label | None) -> RawPrediction:
        prediction = predict(x)
        learn(x, y)
        return prediction

    return step


def _chained_predict(transformers: list[Any], predict: PredictFn) -> PredictFn:
    transforms = tuple(transformer.transform_one for transformer in transformers)

    def chained(x: Features) -> RawPrediction:
        for transform in transforms:
            x = transform(x)
        return predict(x)

    return chained


def _chained_step(transformers: list[Any], model: Any, predict: PredictFn) -> StepFn:
    chained = _chained_predict(transformers, predict)
    learn = _chained_learn(transformers, model)

    def step(x: Features, y: Label | None) -> RawPrediction:
        prediction = chained(x)
        learn(x, y)
        return prediction

    return step


def _chained_learn(transformers: list[Any], model: Any) -> LearnFn:
    steps = tuple((transformer.learn_one, transformer.transform_one) for transformer in transformers)
    learn = model.learn_one

    def chained(x: Features, y: Label | None) -> None:
        for learn_features, transform in steps:
            learn_features(x)
            x = transform(x)
        learn(x, y)

    return chained


def _scaled_step(transformers: list[Any], model: Any, predict: PredictFn) -> StepFn | None:
    scaler = _plain_scaler(transformers)
    if scaler is None:
        return None
    counts, means, variances = scaler.counts, scaler.means, scaler.vars
    learn = model.learn_one

    # The arithmetic keeps river's order of operations, or the results would differ in their last bits.
    def step(x: Features, y: Label | None) -> RawPrediction:
        before: Features = {}
        after: Features = {}
        for name, value in x.items():
            mean = means[name]
            variance = variances[name]
            distance = value - mean
            before[name] = distance / variance**0.5 if variance else 0.0
            count = counts[name] + 1
            counts[name] = count
            mean += distance / count
            means[name] = mean
            left = value - mean
            variance += (distance * left - variance) / count
            variances[name] = variance
            after[name] = left / variance**0.5 if variance else 0.0
        prediction = predict(before)
        learn(after, y)
        return prediction

    return step


def _scaled_predict(transformers: list[Any], predict: PredictFn) -> PredictFn | None:
    """Return the first half of `_scaled_step`, for events whose labels come later."""
    scaler = _plain_scaler(transformers)
    if scaler is None:
        return None
    means, variances = scaler.means, scaler.vars

    def scaled(x: Features) -> RawPrediction:
        before: Features = {}
        for name, value in x.items():
            variance = variances[name]
            before[name] = (value - means[name]) / variance**0.5 if variance else 0.0
        return predict(before)

    return scaled


def _scaled_learn(transformers: list[Any], model: Any) -> LearnFn | None:
    """Return the second half of `_scaled_step`, for events that were predicted before."""
    scaler = _plain_scaler(transformers)
    if scaler is None:
        return None
    counts, means, variances = scaler.counts, scaler.means, scaler.vars
    learn_model = model.learn_one

    def learn(x: Features, y: Label | None) -> None:
        after: Features = {}
        for name, value in x.items():
            mean = means[name]
            variance = variances[name]
            distance = value - mean
            count = counts[name] + 1
            counts[name] = count
            mean += distance / count
            means[name] = mean
            left = value - mean
            variance += (distance * left - variance) / count
            variances[name] = variance
            after[name] = left / variance**0.5 if variance else 0.0
        learn_model(after, y)

    return learn


def _plain_scaler(transformers: list[Any]) -> Any | None:
    """Return the only transformer if it is a `StandardScaler` whose sums are plain, else None."""
    if len(transformers) != 1 or type(transformers[0]) is not preprocessing.StandardScaler:
        return None
    scaler: Any = transformers[0]
    return scaler if scaler.with_std and scaler.window_size is None else None
