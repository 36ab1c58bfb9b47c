"""Lists every class that a specification may name: river's public classes and some of scikit-learn."""

import difflib
import functools
import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from service.errors import SpecificationError

RIVER_MODULES = (
    *("anomaly", "bandit", "cluster", "compose", "conf", "drift", "drift.binary", "dummy", "ensemble"),
    *("facto", "feature_extraction", "feature_selection", "forest", "imblearn", "linear_model", "metrics"),
    *("misc", "model_selection", "multiclass", "naive_bayes", "neighbors", "optim", "optim.initializers"),
    *("optim.losses", "optim.schedulers", "preprocessing", "proba", "rules", "stats", "time_series", "tree"),
    *("tree.splitter", "utils", "rolling"),
)

SKLEARN_PREFIX = "sklearn."
SKLEARN_CLASSES = (
    "linear_model.SGDClassifier",
    "linear_model.SGDRegressor",
    "linear_model.Perceptron",
    "linear_model.PassiveAggressiveClassifier",
    "linear_model.PassiveAggressiveRegressor",
    "naive_bayes.BernoulliNB",
    "naive_bayes.MultinomialNB",
    "naive_bayes.ComplementNB",
    "neural_network.MLPClassifier",
    "neural_network.MLPRegressor",
)

_TAKES_FUNCTIONS = "it takes functions, which a file cannot hold; build it in Python and name it by `factory:`"
UNSUPPORTED: Mapping[str, str] = {
    "active.EntropySampler": "it answers whether to ask for a label instead of predicting one",
    "compat.SKL2RiverClassifier": "name the scikit-learn classifier itself, as in sklearn.linear_model.SGDClassifier",
    "compat.SKL2RiverRegressor": "name the scikit-learn regressor itself, as in sklearn.linear_model.SGDRegressor",
    "compose.FuncTransformer": _TAKES_FUNCTIONS,
    "compose.TargetTransformRegressor": _TAKES_FUNCTIONS,
    "misc.ZstdClassifier": "it needs the zstd module of Python 3.14",
    "neighbors.SWINN": "its graph keeps state outside of the object and predicts with chance, so that a restored "
    "model would go on differently; use neighbors.LazySearch",
    "preprocessing.LDA": "its state names functions of numpy, which no artifact may",
    "sklearn.naive_bayes.GaussianNB": "it predicts NaN until it has seen every class; use naive_bayes.GaussianNB",
    "tree.ISOUPTreeRegressor": "it predicts several targets at once",
}
"""Names that are refused, each with the reason."""

REQUIRED_PARAMETERS: Mapping[str, Mapping[str, str]] = {
    "neighbors.KNNClassifier": {"engine": "neighbors.LazySearch"},
    "neighbors.KNNRegressor": {"engine": "neighbors.LazySearch"},
}
"""Parameters whose default in river is not supported, each with a value that is."""


@functools.cache
def all_classes() -> Mapping[str, type]:
    """Return the class of each name such as `linear_model.LogisticRegression`.

    This loads all of river and scikit-learn.
    """
    names = [f"{module}.{name}" for module in RIVER_MODULES for name in _exported(module)]
    names += [f"{SKLEARN_PREFIX}{dotted}" for dotted in SKLEARN_CLASSES]
    return {name: found for name in names if (found := get_class(name)) is not None}


@functools.cache
def get_class(name: str) -> type | None:
    """Return the class of this name, loading only its module, or None where there is none."""
    module, _, leaf = name.rpartition(".")
    if module in RIVER_MODULES and leaf in _exported(module):
        found = getattr(importlib.import_module(f"river.{module}"), leaf, None)
    elif name.removeprefix(SKLEARN_PREFIX) in SKLEARN_CLASSES and name.startswith(SKLEARN_PREFIX):
        found = getattr(importlib.import_module(module), leaf, None)
    else:
        return None
    return found if inspect.isclass(found) and not inspect.isabstract(found) else None


def _exported(module: str) -> Sequence[str]:
    try:
        return list(getattr(importlib.import_module(f"river.{module}"), "__all__", ()))
    except ImportError:
        return ()


def find_class(name: str, *, path: str) -> type:
    """Return the class of this name; raise SpecificationError with the nearest valid name if there is none."""
    if name in UNSUPPORTED:
        raise SpecificationError(path, f"found {name}, which is not supported: {UNSUPPORTED[name]}")
    found = get_class(name)
    if found is None:
        near = difflib.get_close_matches(name, all_classes(), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SpecificationError(
            path, f"found {name!r}, expected a class of river such as linear_model.PARegressor{hint}"
        )
    return found


def is_allowed_module(dotted: str) -> bool:
    """Return whether the module is one whose classes a specification may name."""
    return dotted in RIVER_MODULES or dotted.removeprefix(SKLEARN_PREFIX) in {
        one.rsplit(".", 1)[0] for one in SKLEARN_CLASSES
    }


def constructor_parameters(found: type) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of the class's constructor; {} where it has no signature."""
    try:
        return inspect.signature(found).parameters
    except (TypeError, ValueError):
        return {}


def parameter_hint(name: str, known: Mapping[str, Any]) -> str:
    """Return a hint for a mistyped parameter: the nearest name, or all names."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"; did you mean {near[0]}?" if near else f"; it takes {', '.join(known) or 'none'}"
