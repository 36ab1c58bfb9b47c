"""Knows which of river's metrics can be computed from a model's score journal."""

import difflib
import inspect
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import yaml
from river import metrics as river_metrics

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Task
from service.errors import ConfigurationError, SpecificationError
from service.learning.metrics.prequential import DEFAULT_METRICS, MetricSet

Metric: TypeAlias = str | dict[str, Any]

TABULAR_METRICS = frozenset({"ClassificationReport", "ConfusionMatrix"})
"""Metrics whose value is a table."""


def parse_metrics(texts: Sequence[str]) -> list[Metric]:
    """Return the metrics of a command line or URL, such as `F1` or `{FBeta: {beta: 2}}`.

    Raise ConfigurationError for a text that is neither a name nor a name with parameters.
    """
    found: list[Metric] = []
    for text in texts:
        try:
            metric = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):
            metric = None
        if not isinstance(metric, str) and not _is_parameterized(metric):
            msg = f"found metric {text!r}, expected a name such as F1, or one with parameters: '{{FBeta: {{beta: 2}}}}'"
            raise ConfigurationError(msg)
        found.append(metric)
    return found


def _is_parameterized(metric: object) -> bool:
    """Return whether it maps one name to plain parameters; a confusion matrix (`cm`) is not plain."""
    if not isinstance(metric, dict) or len(metric) != 1:
        return False
    ((name, given),) = metric.items()
    plain = isinstance(given, dict) and all(isinstance(one, str) and one != "cm" for one in given)
    return isinstance(name, str) and plain and all(_is_plain(one) for one in given.values())


def _is_plain(value: object) -> bool:
    return isinstance(value, str | bool) or (isinstance(value, int | float) and math.isfinite(value))


def metrics_for_task(task: Task) -> Sequence[str]:
    """Return the names of river's metrics that fit a task."""
    base = river_metrics.base
    kinds = {
        Task.BINARY: base.ClassificationMetric,
        Task.MULTICLASS: base.MultiClassMetric,
        Task.REGRESSION: base.RegressionMetric,
    }
    found = {name: getattr(river_metrics, name, None) for name in river_metrics.__all__ if name not in TABULAR_METRICS}
    return [name for name, one in found.items() if inspect.isclass(one) and issubclass(one, kinds[task])]


def select_metrics(spec: ModelSpec, requested: Sequence[Metric]) -> tuple[Metric, ...]:
    """Return the requested metrics, with the specification's parameters where it has them; by default its first.

    Raise ConfigurationError for a metric that does not fit the task or lacks a parameter.
    """
    own: Sequence[Metric] = spec.metrics or DEFAULT_METRICS[spec.task]
    if not requested:
        return (own[0],)
    configured = {metric_name(one): one for one in own}
    known = metrics_for_task(spec.task)
    found = [configured.get(one, one) if isinstance(one, str) else one for one in map(_leaf, requested)]
    for one in found:
        _require_fitting(metric_name(one), known, spec.task)
        try:
            MetricSet([one], seed=spec.seed)
        except SpecificationError as error:
            msg = (
                f"metric {metric_name(one)}: {error.message}; "
                f"give it as `--metric '{{{metric_name(one)}: {{name: value}}}}'`"
            )
            raise ConfigurationError(msg) from error
    return tuple({metric_name(one): one for one in found}.values())


def find_metric(name: str, task: Task, *, among: Sequence[Metric]) -> Metric:
    """Return the metric of this name, with its parameters where `among` has it.

    Raise ConfigurationError if it does not fit the task.
    """
    leaf = metric_name(name)
    _require_fitting(leaf, metrics_for_task(task), task)
    return {metric_name(one): one for one in among}.get(leaf, leaf)


def needing_probabilities(names: Sequence[Metric], *, seed: int) -> Sequence[str]:
    """Return the names of the metrics for which labels are not enough."""
    return [metric_name(one) for one in names if MetricSet([one], seed=seed).needs_probabilities]


def metric_name(metric: Metric) -> str:
    """Return the name as it is shown, such as `Accuracy`."""
    dotted = metric if isinstance(metric, str) else next(iter(metric))
    return dotted.rsplit(".", 1)[-1]


def _leaf(metric: Metric) -> Metric:
    return metric_name(metric) if isinstance(metric, str) else metric


def _require_fitting(name: str, known: Sequence[str], task: Task) -> None:
    if name in known:
        return
    lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    hint = f"; did you mean {lower[near[0]]}?" if near else f", such as {', '.join(DEFAULT_METRICS[task])}"
    msg = f"found metric {name!r}, expected one of river.metrics that fits a {task} task{hint}"
    raise ConfigurationError(msg)
