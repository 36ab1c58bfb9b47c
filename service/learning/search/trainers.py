"""Trains a recipe on history: what a trial does, and what is done again with the best of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from service.domain.specification.candidates import Recipe, label_text
from service.domain.stream.events import Event
from service.errors import EstimatorError
from service.learning.engine.batch_fast_path import make_batch_pass
from service.learning.engine.columns import Columns, regular
from service.learning.engine.fast_path import Prediction, make_pass
from service.learning.engine.stepper import plain, without_non_finite
from service.learning.estimators import build as estimators
from service.learning.estimators.candidates import Ground
from service.learning.estimators.capabilities import takes_weights
from service.learning.pickling import codec
from service.learning.search.score import Speaks
from service.learning.search.trials import Indices, Rows, WarmState

STEPS = 10
"""How often a trial tells its score while it learns."""
CHUNK = 512
"""Events that are taken, learned and scored at a time; a search stops within one."""


class Model(Speaks, Protocol):
    """What training makes: it goes on as a river estimator would."""

    @property
    def estimator(self) -> Any:
        """What a version keeps."""
        ...

    def learn(self, events: Sequence[Event]) -> Sequence[Prediction]:
        """Predict each event, then learn it; EstimatorError where it throws or is spoilt."""
        ...


class Watch(Protocol):
    """Is told of the first pass over what is learned; it may raise to end the training."""

    def scored(self, events: Sequence[Event], predictions: Sequence[Prediction], model: Speaks) -> None:
        """These were predicted, then learned."""
        ...

    def step(self) -> None:
        """Another tenth has been learned."""
        ...

    def breathe(self) -> None:
        """Called often, in later passes too."""
        ...


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is there to learn from; a trainer may look at the validation rows only to know when to end."""

    data: Rows
    train: Indices
    validation: Indices


class Trainer(Protocol):
    """Makes a model of a recipe. One that learns in batch tells its watch nothing, and is never pruned."""

    def fit(self, recipe: Recipe, lesson: Lesson, watch: Watch) -> Model:
        """EstimatorError where the recipe is no good."""
        ...


class OnlineModel:
    """A river estimator with the pass that fits it; in micro-batches where the model has them."""

    def __init__(self, estimator: Any, ground: Ground) -> None:
        self.estimator = estimator
        self._pass = make_pass(estimator, task=ground.task)
        self._batch = make_batch_pass(estimator, task=ground.task, probabilities=self._pass.gives_probabilities)
        self._size = ground.batch
        self._takes_weights = takes_weights(estimator)

    @property
    def gives_probabilities(self) -> bool:
        """Whether a prediction is, or carries, `{label: probability}`."""
        return self._pass.gives_probabilities

    @property
    def pairs(self) -> bool:
        """Whether a prediction is (label, probabilities)."""
        return self._pass.pairs

    def learn(self, events: Sequence[Event]) -> Sequence[Prediction]:
        """Predict each event, then learn it; the last batch may be smaller than the others."""
        try:
            found = plain(self._in_batches(events) if self._size > 1 else self._one_by_one(events))
            after = [self._pass.predict(event.x) for event in events[-1:]]
        except EstimatorError:
            raise
        except Exception as error:
            msg = f"{type(error).__name__}: {error}"
            raise EstimatorError(msg) from error
        if without_non_finite(after) != after:
            msg = f"found that it predicts {after[0]!r:.80} after learning, expected what is finite"
            raise EstimatorError(msg)
        return found

    def _one_by_one(self, events: Sequence[Event]) -> list[Prediction]:
        step = self._pass.step
        return [step(event.x, event.y) if event.weight == 1.0 else self._weighted(event) for event in events]

    def _in_batches(self, events: Sequence[Event]) -> Sequence[Prediction]:
        parts = [self._one_batch(events[first : first + self._size]) for first in range(0, len(events), self._size)]
        if len(parts) == 1:
            return parts[0]
        return [one for part in parts for one in part]

    def _one_batch(self, events: Sequence[Event]) -> Sequence[Prediction]:
        columns = Columns.of(events)
        if columns is None:
            return self._one_by_one([regular(event, offset=event.offset) for event in events])
        predictions = self._batch.predict(columns)
        self._batch.learn(columns)
        return predictions

    def _weighted(self, event: Event) -> Prediction:
        if not self._takes_weights:
            msg = f"found an event that weighs {event.weight:g}, but {type(self.estimator).__name__} learns no weights"
            raise EstimatorError(msg)
        prediction = self._pass.predict(event.x)
        self.estimator.learn_one(event.x, event.y, w=event.weight)
        return prediction


class OnlineTrainer:
    """Teaches river estimators event by event, or in micro-batches, as a learner does."""

    def __init__(self, ground: Ground, warm: WarmState | None = None) -> None:
        self._ground = ground
        self._warm = warm

    def fit(self, recipe: Recipe, lesson: Lesson, watch: Watch) -> OnlineModel:
        """EstimatorError where it throws or is spoilt."""
        model = OnlineModel(self._begun(recipe), self._ground)
        weights = weights_of(recipe, lesson)
        size = chunk_size(len(lesson.train), batch=self._ground.batch)
        for epoch in range(recipe.epochs):
            told = 0
            for first in range(0, len(lesson.train), size):
                watch.breathe()
                events = weighted(lesson.data.take(lesson.train[first : first + size]), weights)
                predictions = model.learn(events)
                if epoch == 0:
                    watch.scored(events, predictions, model)
                    told = _tell(watch, told, done=first + len(events), total=len(lesson.train))
        return model

    def _begun(self, recipe: Recipe) -> Any:
        ground = self._ground
        made = estimators.load_factory(ground.factory) if recipe.estimator is None and ground.factory else None
        if recipe.warm_start and self._warm is not None:
            extra = frozenset[tuple[str, str]]() if made is None else estimators.allowed_classes_of(made)
            return codec.loads(self._warm.snapshot, extra=extra)
        return estimators.build(recipe.estimator, task=ground.task, seed=ground.seed) if made is None else made


def chunk_size(count: int, *, batch: int) -> int:
    """Whole batches; small histories are cut so that there is a chunk for each step."""
    wanted = max(1, min(CHUNK, -(-count // STEPS)))
    return batch * -(-wanted // batch)


def weights_of(recipe: Recipe, lesson: Lesson) -> dict[str, float]:
    """The factor of each label, by its text; empty where there are none.

    Balanced: as in scikit-learn, so that all classes weigh the same and the mean is one.
    """
    if recipe.class_weights == "none":
        return {}
    if recipe.class_weights != "balanced":
        return {label: float(one) for label, one in recipe.class_weights.items()}
    counts = Counter(map(label_text, lesson.data.labels(lesson.train)))
    return {label: counts.total() / (len(counts) * count) for label, count in counts.items()}


def weighted(events: Sequence[Event], weights: dict[str, float]) -> Sequence[Event]:
    """The events with their weights times those of their labels."""
    if not weights:
        return events
    factors = [weights.get(label_text(event.y), 1.0) for event in events]
    return [
        Event(one.offset, one.id, one.ts, one.x, one.y, one.group, one.weight * factor)
        for one, factor in zip(events, factors, strict=True)
    ]


def _tell(watch: Watch, told: int, *, done: int, total: int) -> int:
    """Tell of every tenth that has passed, once."""
    passed = done * STEPS // total
    for _ in range(told, passed):
        watch.step()
    return passed
