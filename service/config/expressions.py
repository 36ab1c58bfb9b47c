"""Checks that the objects which a model's specification names can be built."""

from collections.abc import Callable
from datetime import UTC
from functools import partial

from apscheduler.triggers.cron import CronTrigger

from service.domain.specification import cron
from service.domain.specification.model import ModelSpec
from service.errors import SpecificationError
from service.learning.estimators import build as estimators
from service.learning.estimators.candidates import ModelContext, require_candidates
from service.learning.metrics.prequential import PrequentialMetrics
from service.learning.monitors import MonitorSet


def require_buildable(model: ModelSpec) -> None:
    """Raise SpecificationError unless all that the specification names can be built."""
    for build in buildable_parts(model, path="spec.estimator").values():
        build()


def buildable_parts(model: ModelSpec, *, path: str) -> dict[str, Callable[[], object]]:
    """Return functions by key, each of which builds one part of the model's specification."""
    task, seed = model.task, model.seed
    found: dict[str, Callable[[], object]] = {
        "metrics": partial(PrequentialMetrics, model.metrics, task=task, window=model.window, seed=seed),
        "drift": partial(MonitorSet, model.drift, task=task, seed=seed, metrics=model.metrics),
    }
    if model.retrain is not None and model.retrain.cron is not None:
        where = path.replace(".estimator", ".retrain.cron")
        found["retrain"] = partial(_require_cron, model.retrain.cron, path=where)
    if model.factory is None:
        build = partial(estimators.estimator_from_expression, model.estimator, task=task, seed=seed, path=path)
        where = path.replace(".estimator", ".learn.batch")
        found["estimator"] = build
        found["learn"] = lambda: estimators.require_batch_support(build(), batch=model.learn.batch, path=where)
    return found


def require_candidates_buildable(model: ModelSpec, *, path: str) -> None:
    """Raise SpecificationError unless all that a retraining may try can be built."""
    if model.retrain is not None:
        given, trials = model.retrain.candidates, model.retrain.budget.trials
        require_candidates(given, ModelContext.of(model), trials=trials, path=f"{path}.candidates")


def _require_cron(expression: str, *, path: str) -> None:
    """Raise SpecificationError unless the scheduler accepts the cron expression."""
    try:
        CronTrigger(**cron.parse_cron(expression), timezone=UTC)
    except ValueError as error:
        message = f"found {expression!r}, expected a cron expression such as 0 3 * * * (UTC): {error}"
        raise SpecificationError(path, message) from error
