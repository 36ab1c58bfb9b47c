"""Whether all that candidates may become can be built and taught, as far as that shows without training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service.domain.specification import search_spaces as spaces
from service.domain.specification.candidates import CandidateSpec, Weights, candidates_or_default, inherited, label_text
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Task
from service.errors import SpecificationError
from service.learning.batch import catalogue as batch_catalogue
from service.learning.estimators import build as estimators
from service.learning.estimators.capabilities import final_step, takes_weights


@dataclass(frozen=True, slots=True)
class Ground:
    """What of a model its candidates have in common."""

    task: Task
    seed: int
    batch: int = 1
    estimator: Any = None
    factory: str | None = None

    @property
    def own(self) -> Any:
        """The expression that a candidate without one has; None where a factory makes the model."""
        return self.estimator if self.factory is None else None

    @classmethod
    def of(cls, spec: ModelSpec) -> "Ground":
        """A model's."""
        return cls(spec.task, spec.seed, spec.learn.batch, spec.estimator, spec.factory)


def require_candidates(
    candidates: Sequence[CandidateSpec], ground: Ground, *, trials: int, path: str = "candidates"
) -> None:
    """SpecificationError for the first thing with which trials could not go right, or would not come to a candidate.

    Every option of every choice and both ends of every range are built, not each combination of them.
    """
    names = [one.name for one in candidates]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpecificationError(path, f"found two candidates named {', '.join(twice)}, expected different names")
    if len(names) > trials:
        raise SpecificationError(
            path, f"found {len(names)} candidates and {trials} trials, expected at least one trial for each"
        )
    for index, one in enumerate(candidates):
        require_candidate(one, ground, path=f"{path}[{index}]")


def require_candidate(candidate: CandidateSpec, ground: Ground, *, path: str) -> None:
    """As `require_candidates`, of one."""
    weights = [one.value for one in spaces.variants(candidate.class_weights, path="class_weights")]
    for one in weights:
        _require_labels(one, ground.task, f"{path}.class_weights")
    weighs = any(one != "none" for one in weights)
    place = f"{path}.estimator"
    if candidate.estimator is None and ground.own is None:
        if ground.factory is None:
            raise SpecificationError(place, "found nothing, expected an estimator: the model has none either")
        _require_able(estimators.load_factory(ground.factory), ground, weighs=weighs, path=path)
        return
    for variant in spaces.variants(inherited(candidate, ground.own).estimator, path=place):
        if is_batch(variant.value):
            _require_one_pass(candidate, path=path)
        try:
            built = estimators.build(variant.value, task=ground.task, seed=ground.seed, path=place)
        except SpecificationError as error:
            raise SpecificationError(variant.written(error.path), error.message) from error
        _require_able(built, ground, weighs=weighs, path=path)


def is_batch(expression: Any) -> bool:
    """Whether it names an estimator that is fitted at once, and frozen then."""
    name = next(iter(expression), "") if isinstance(expression, dict) else expression
    return isinstance(name, str) and batch_catalogue.is_batch(name)


def complete(candidates: Sequence[CandidateSpec], ground: Ground) -> tuple[CandidateSpec, ...]:
    """What is tried: at least the champion's own estimator, learned anew; None is its factory."""
    return tuple(inherited(one, ground.own) for one in candidates_or_default(candidates))


def _require_one_pass(candidate: CandidateSpec, *, path: str) -> None:
    if candidate.epochs != 1:
        wrong, found = "epochs", f"found {candidate.epochs!r:.80}"
    elif candidate.warm_start:
        wrong, found = "warm_start", "found it"
    else:
        return
    place = f"{path}.{wrong}"
    raise SpecificationError(place, f"{found} for an estimator that is fitted once and then frozen, expected none")


def _require_labels(weights: Weights, task: Task, path: str) -> None:
    if weights == "none":
        return
    if task is Task.REGRESSION:
        raise SpecificationError(path, f"found {weights!r:.80} for a regression, expected none: there are no classes")
    known = {label_text(label) for label in (False, True)}
    if task is Task.BINARY and not isinstance(weights, str) and not weights.keys() <= known:
        strange = min(weights.keys() - known)
        raise SpecificationError(path, f"found label {strange!r}, expected true and false, those of a binary task")


def _require_able(built: Any, ground: Ground, *, weighs: bool, path: str) -> None:
    if weighs and not takes_weights(built):
        last = final_step(built)
        found = f"found them with {type(last).__name__}, which learns no weights; expected none, or imblearn around it"
        place = f"{path}.class_weights"
        raise SpecificationError(place, found)
    estimators.require_batch(built, batch=ground.batch, path=f"{path}.estimator")
