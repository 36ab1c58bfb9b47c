"""Checks that every estimator a candidate may become can be built and trained, as far as shows without training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service.domain.specification import search_spaces
from service.domain.specification.candidates import (
    CandidateSpec,
    ClassWeights,
    candidates_or_default,
    label_text,
    with_champion_estimator,
)
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Task
from service.errors import SpecificationError
from service.learning.batch import catalogue as batch_catalogue
from service.learning.estimators import build as estimators
from service.learning.estimators.capabilities import final_step, takes_weights


@dataclass(frozen=True, slots=True)
class ModelContext:
    """The settings of a model that its candidates share."""

    task: Task
    seed: int
    batch_size: int = 1
    estimator: Any = None
    factory: str | None = None

    @property
    def default_expression(self) -> Any:
        """Return the expression of candidates that have none; None if a factory makes the model."""
        return self.estimator if self.factory is None else None

    @classmethod
    def of(cls, spec: ModelSpec) -> "ModelContext":
        """Return the context of a model."""
        return cls(spec.task, spec.seed, spec.learn.batch, spec.estimator, spec.factory)


def require_candidates(
    candidates: Sequence[CandidateSpec], context: ModelContext, *, trials: int, path: str = "candidates"
) -> None:
    """Raise SpecificationError for the first problem that trials would run into, or if there are too few trials.

    Every option of every choice and both ends of every range are built, but not every combination of them.
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
        require_candidate(one, context, path=f"{path}[{index}]")


def require_candidate(candidate: CandidateSpec, context: ModelContext, *, path: str) -> None:
    """Raise SpecificationError for the first problem of one candidate."""
    weights = [one.value for one in search_spaces.covering_expressions(candidate.class_weights, path="class_weights")]
    for one in weights:
        _require_labels(one, context.task, f"{path}.class_weights")
    weighs = any(one != "none" for one in weights)
    field_path = f"{path}.estimator"
    if candidate.estimator is None and context.default_expression is None:
        if context.factory is None:
            raise SpecificationError(field_path, "found nothing, expected an estimator: the model has none either")
        _require_capable(estimators.load_factory(context.factory), context, weighs=weighs, path=path)
        return
    for variant in search_spaces.covering_expressions(
        with_champion_estimator(candidate, context.default_expression).estimator, path=field_path
    ):
        if is_batch_expression(variant.value):
            _require_single_epoch(candidate, path=path)
        try:
            built = estimators.estimator_from_expression(
                variant.value, task=context.task, seed=context.seed, path=field_path
            )
        except SpecificationError as error:
            raise SpecificationError(variant.original_path(error.path), error.message) from error
        _require_capable(built, context, weighs=weighs, path=path)


def is_batch_expression(expression: Any) -> bool:
    """Return whether the expression names a batch estimator, which is fitted at once and then frozen."""
    name = next(iter(expression), "") if isinstance(expression, dict) else expression
    return isinstance(name, str) and batch_catalogue.is_batch_name(name)


def complete_candidates(candidates: Sequence[CandidateSpec], context: ModelContext) -> tuple[CandidateSpec, ...]:
    """Return the candidates with default estimators filled in, or one of the champion's estimator, untrained."""
    return tuple(with_champion_estimator(one, context.default_expression) for one in candidates_or_default(candidates))


def _require_single_epoch(candidate: CandidateSpec, *, path: str) -> None:
    if candidate.epochs != 1:
        wrong, found = "epochs", f"found {candidate.epochs!r:.80}"
    elif candidate.warm_start:
        wrong, found = "warm_start", "found it"
    else:
        return
    field_path = f"{path}.{wrong}"
    raise SpecificationError(field_path, f"{found} for an estimator that is fitted once and then frozen, expected none")


def _require_labels(weights: ClassWeights, task: Task, path: str) -> None:
    if weights == "none":
        return
    if task is Task.REGRESSION:
        raise SpecificationError(path, f"found {weights!r:.80} for a regression, expected none: there are no classes")
    known = {label_text(label) for label in (False, True)}
    if task is Task.BINARY and not isinstance(weights, str) and not weights.keys() <= known:
        strange = min(weights.keys() - known)
        raise SpecificationError(path, f"found label {strange!r}, expected true and false, those of a binary task")


def _require_capable(built: Any, context: ModelContext, *, weighs: bool, path: str) -> None:
    if weighs and not takes_weights(built):
        last = final_step(built)
        found = f"found them with {type(last).__name__}, which learns no weights; expected none, or imblearn around it"
        field_path = f"{path}.class_weights"
        raise SpecificationError(field_path, found)
    estimators.require_batch_support(built, batch=context.batch_size, path=f"{path}.estimator")
