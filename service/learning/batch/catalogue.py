"""The batch estimators that a specification may name, and checks of their parameters."""

import difflib
import importlib
import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from service.domain.stream.events import Task
from service.errors import SpecificationError
from service.learning import scikit_internals

BATCH_PREFIX = "batch."
SKLEARN_NAMES = (
    *(f"ensemble.HistGradientBoosting{kind}" for kind in ("Classifier", "Regressor")),
    *(f"ensemble.GradientBoosting{kind}" for kind in ("Classifier", "Regressor")),
    *(f"ensemble.RandomForest{kind}" for kind in ("Classifier", "Regressor")),
    *(f"ensemble.ExtraTrees{kind}" for kind in ("Classifier", "Regressor")),
    *(f"linear_model.{name}" for name in ("LogisticRegression", "LinearRegression", "Ridge", "Lasso", "ElasticNet")),
    *(f"neural_network.MLP{kind}" for kind in ("Classifier", "Regressor")),
    "naive_bayes.GaussianNB",
)
LIGHTGBM_NAMES = ("LGBMClassifier", "LGBMRegressor")
BATCH_NAMES = (
    *(f"{BATCH_PREFIX}sklearn.{name}" for name in SKLEARN_NAMES),
    *(f"{BATCH_PREFIX}lightgbm.{name}" for name in LIGHTGBM_NAMES),
)

WRAPPER_OPTIONS: Mapping[str, Sequence[Any]] = {
    "calibration": ("none", "online"),
    "categories": ("onehot", "ordinal"),
    "scale": (False, True),
}
"""Headrace's own options beside the estimator's parameters, with their values; the first is the default."""

REQUIRED_PACKAGES = ("skops", "lightgbm")
SEED_PARAMETER = "random_state"
THREADS_PARAMETER = "n_jobs"


def is_batch_name(name: str) -> bool:
    """Return whether the name claims to be a batch estimator, known or not."""
    return name.startswith(BATCH_PREFIX)


def find_batch_class(name: str, *, path: str) -> type:
    """Return the class; raise SpecificationError with the nearest name, or with the extra that is not installed."""
    if name not in BATCH_NAMES:
        near = difflib.get_close_matches(name, BATCH_NAMES, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SpecificationError(path, f"found {name!r}, expected a batch estimator such as {BATCH_NAMES[0]}{hint}")
    missing = [package for package in REQUIRED_PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise SpecificationError(path, f"found {name}, which needs {' and '.join(missing)}; install `headrace[batch]`")
    module, _, leaf = name.removeprefix(BATCH_PREFIX).rpartition(".")
    found: type = getattr(importlib.import_module(module), leaf)
    return found


def is_regressor(name: str) -> bool:
    """Return whether the estimator predicts a value."""
    return name.endswith("Regressor") or name.rsplit(".", 1)[-1] in {"LinearRegression", "Ridge", "Lasso", "ElasticNet"}


def check_arguments(
    name: str, arguments: Any, *, task: Task | None, seed: int, path: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the estimator's parameters, including a seed, and Headrace's options; raise SpecificationError."""
    found = find_batch_class(name, path=path)
    if task is not None and is_regressor(name) is not (task is Task.REGRESSION):
        kind = "regressor" if task is Task.REGRESSION else "classifier"
        raise SpecificationError(path, f"found {name}, expected a {kind} for the task {task}")
    if arguments is not None and not isinstance(arguments, Mapping):
        raise SpecificationError(path, f"found {arguments!r:.80}, expected its parameters by name")
    known = [key for key, one in inspect.signature(found).parameters.items() if one.kind is not one.VAR_KEYWORD]
    given = dict(arguments or {})
    options = {key: _option(key, given.pop(key, values[0]), path=path) for key, values in WRAPPER_OPTIONS.items()}
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), [*known, *WRAPPER_OPTIONS], n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else f"; it takes {', '.join([*known, *WRAPPER_OPTIONS])}"
            raise _parameter_error(path, key, f"found no such parameter{hint}")
    if options["calibration"] != "none" and is_regressor(name):
        raise _parameter_error(path, "calibration", "found it for a regressor, expected it for classifiers only")
    if SEED_PARAMETER in known:
        given.setdefault(SEED_PARAMETER, seed)
    if name.startswith(f"{BATCH_PREFIX}lightgbm."):
        given.setdefault(THREADS_PARAMETER, 1)
    _require_values(found, given, path=path)
    return given, options


def _parameter_error(path: str, key: Any, message: str) -> SpecificationError:
    return SpecificationError(f"{path}.{key}", message)


def _option(key: str, value: Any, *, path: str) -> Any:
    expected = WRAPPER_OPTIONS[key]
    if value in expected and type(value) is type(expected[0]):
        return value
    shown = " or ".join(str(one).lower() for one in expected)
    raise _parameter_error(path, key, f"found {value!r:.80}, expected {shown}")


def _require_values(found: type, given: Mapping[str, Any], *, path: str) -> None:
    """Let scikit-learn validate its parameters; LightGBM validates its own, plain values, only in training."""
    for key, value in given.items():
        if not isinstance(value, str | int | float | bool | None | list | dict):
            raise _parameter_error(path, key, f"found {value!r:.80}, expected a plain value")
    made = found(**given)
    try:
        if found.__module__.startswith("sklearn."):
            scikit_internals.validate_parameters(made)
    except ValueError as error:
        raise SpecificationError(path, str(error)) from error
