"""Pickles that may name only what is listed: no module prefixes, no attribute access, no free calls.

A signature says who wrote an artifact; this list says what it may do even so.
"""

import copyreg
import functools
import importlib
import inspect
import io
import pickle
import pkgutil
from collections.abc import Callable
from typing import Any

import river

from service.errors import ArtifactError, ForbiddenClassError
from service.learning import catalogue
from service.learning.search_trees import NODES, flattened

_PLAIN = {
    ("builtins", name)
    for name in (
        *("set", "frozenset", "dict", "list", "tuple", "int", "float", "str", "bool", "complex"),
        "slice",
        "range",
    )
} | {
    ("builtins", "bytearray"),
    ("builtins", "object"),
    ("builtins", "NoneType"),
    ("collections", "deque"),
    ("collections", "defaultdict"),
    ("collections", "OrderedDict"),
    ("collections", "Counter"),
    ("copyreg", "_reconstructor"),
    ("datetime", "datetime"),
    ("datetime", "timedelta"),
    ("datetime", "timezone"),
    ("random", "Random"),
    ("statistics", "NormalDist"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.random._pickle", "__randomstate_ctor"),
    ("numpy.random._pickle", "__generator_ctor"),
    ("numpy.random._pickle", "__bit_generator_ctor"),
    ("numpy.random._mt19937", "MT19937"),
    ("numpy.random._pcg64", "PCG64"),
    ("numpy.random._mt19937", "__pyx_unpickle_MT19937"),
    ("numpy.random.bit_generator", "SeedSequence"),
    ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"),
}
_SCIKIT = {
    ("sklearn.neural_network._stochastic_optimizers", "AdamOptimizer"),
    ("sklearn.neural_network._stochastic_optimizers", "SGDOptimizer"),
    ("sklearn.preprocessing._label", "LabelBinarizer"),
    ("sklearn._loss._loss", "CyHalfBinomialLoss"),
    ("sklearn.linear_model._sgd_fast", "Log"),
    ("sklearn.linear_model._sgd_fast", "Hinge"),
    ("sklearn.linear_model._sgd_fast", "SquaredLoss"),
}
_METHODS = frozenset(
    {
        *(
            ("river.linear_model.pa", f"{kind}._calc_tau_{n}")
            for kind in ("PAClassifier", "PARegressor", "BasePA")
            for n in range(3)
        ),
        ("river.naive_bayes.gaussian", "GaussianNB._make_gaussian"),
        ("river.tree.splitter.ebst_splitter", "EBSTNode._update_estimator_univariate"),
        ("river.tree.splitter.ebst_splitter", "EBSTNode._update_estimator_multivariate"),
        *(
            ("river.forest.online_extra_trees", f"ExtraTrees.{name}")
            for name in ("_detection_mode_all", "_detection_mode_drop", "_detection_mode_off")
        ),
        *(
            ("river.ensemble.bagging", f"LeveragingBaggingClassifier._leveraging_{name}")
            for name in ("bag", "bag_me", "bag_half", "bag_wt", "subag")
        ),
        *(
            (f"river.tree.splitter.{module}", f"{name}._update_estimator_{kind}variate")
            for module, name in (("qo_splitter", "Slot"), ("nominal_splitter_reg", "NominalSplitterReg"))
            for kind in ("uni", "multi")
        ),
        *(
            ("river.preprocessing.scale_target", f"{kind}.{name}")
            for kind in ("TargetStandardScaler", "TargetMinMaxScaler")
            for name in ("_scale", "_unscale")
        ),
        *(("river.drift.page_hinkley", f"PageHinkley._test_{name}") for name in ("increase", "decrease", "both")),
        *(("river.drift.dummy", f"DummyDriftDetector._{name}_trigger") for name in ("fixed", "random")),
        ("river.multiclass.occ", "OutputCodeClassifier._next_code"),
        ("builtins", "str.lower"),
        ("river.bandit.thompson", "ThompsonSampling._clone_reward_obj_with_seed"),
        ("river.feature_extraction.kernel_approx", "RBFSampler._random_weights"),
        ("river.preprocessing.random_projection", "GaussianRandomProjector._rand_gauss"),
        ("river.preprocessing.random_projection", "SparseRandomProjector._rand_weights_for_feature"),
    }
)
"""(module, class.method) pairs that river's own objects keep as attributes."""
_FUNCTIONS = frozenset(
    {
        ("river._river_rust.vectordict", "euclidean_distance_tuple"),
        ("river._river_rust.vectordict", "euclidean_distance_dict"),
        ("river.feature_extraction.vectorize", "strip_accents_unicode"),
        ("river.feature_extraction.vectorize", "tokenize_using_regex_pattern"),
        ("re", "_compile"),
        ("service.learning.search_trees", "grown"),
        ("river.metrics.mutual_info", "_average_arithmetic"),
        ("copy", "deepcopy"),
    }
)
_CALLABLE_INSTANCES = "river.optim.initializers"
_NEVER = frozenset(
    {"eval", "exec", "compile", "open", "getattr", "setattr", "delattr", "__import__", "globals", "vars"}
)


def dumps(value: Any) -> bytes:
    """The value's pickle, protocol 5."""
    target = io.BytesIO()
    try:
        _Writer(target).dump(value)
        return target.getvalue()
    except Exception as error:
        msg = f"found a {type(value).__name__} that cannot be pickled ({error}); choose another estimator"
        raise ArtifactError(msg) from error


def loads(data: bytes, *, extra: frozenset[tuple[str, str]] = frozenset()) -> Any:
    """The value; ForbiddenClassError for a name that is not listed, before anything of it runs.

    `extra` holds (module, class) pairs that the user has allowed by choosing a factory.
    """
    try:
        return _Reader(io.BytesIO(data), extra).load()
    except ForbiddenClassError:
        raise
    except Exception as error:
        msg = (
            f"found {len(data)} bytes that are no readable state ({type(error).__name__}: {error}); "
            "run `headrace registry verify`"
        )
        raise ArtifactError(msg) from error


@functools.cache
def allowed() -> frozenset[tuple[str, str]]:
    """(module, class) of every class that river defines, of scikit-learn's catalogued ones, and plain values."""
    found = set(_PLAIN | _SCIKIT)
    for module in _river_modules():
        for name, value in vars(module).items():
            if inspect.isclass(value) and value.__module__.startswith("river.") and name not in _NEVER:
                found.add((value.__module__, value.__qualname__))
    found |= {
        (one.__module__, one.__qualname__) for name, one in catalogue.classes().items() if name.startswith("sklearn")
    }
    found |= _rust_reconstructors()
    return frozenset(found)


def _river_modules() -> list[Any]:
    found = []
    for info in pkgutil.walk_packages(river.__path__, "river."):
        if ".test" in info.name or info.name.startswith(("river.datasets", "river.checks", "river.bandit.envs")):
            continue
        try:
            found.append(importlib.import_module(info.name))
        except ImportError:
            continue
    return found


def _rust_reconstructors() -> set[tuple[str, str]]:
    """The compiled classes, which name themselves without their package."""
    found: set[tuple[str, str]] = set()
    compiled = [one for one in vars(river._river_rust).values() if inspect.ismodule(one)]
    for module in [*_river_modules(), *compiled]:
        for value in vars(module).values():
            if inspect.isclass(value) and "_river_rust" in value.__module__:
                found.add((value.__module__, value.__qualname__))
    return found


class _Writer(pickle.Pickler):
    """Writes search trees of any depth."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.dispatch_table = {**copyreg.dispatch_table, **dict.fromkeys(NODES, flattened)}


class _Reader(pickle.Unpickler):
    """Finds listed classes only; `getattr` and `partial` come as checked stand-ins."""

    def __init__(self, file: io.BytesIO, extra: frozenset[tuple[str, str]]) -> None:
        super().__init__(file)
        self._extra = extra

    def find_class(self, module: str, name: str) -> Any:
        """The listed object, or ForbiddenClassError."""
        if (module, name) == ("builtins", "getattr"):
            return _checked_getattr
        if (module, name) == ("functools", "partial"):
            return _checked_partial
        wanted = (module, name)
        if wanted in allowed() or wanted in self._extra or wanted in _METHODS or wanted in _FUNCTIONS:
            return super().find_class(module, name)
        raise _forbidden(module, name)

    def persistent_load(self, pid: Any) -> Any:
        """No artifact of ours has any."""
        msg = "persistent id"
        raise _forbidden(msg, str(pid)[:50])


def _checked_partial(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    listed = (getattr(function, "__module__", ""), getattr(function, "__qualname__", ""))
    if listed in allowed() | _FUNCTIONS or type(function).__module__ == _CALLABLE_INSTANCES:
        return functools.partial(function, *arguments, **named)
    msg = "functools.partial over"
    raise _forbidden(msg, listed[1] or type(function).__name__)


def _checked_getattr(owner: Any, name: str) -> Any:
    kind = owner if inspect.isclass(owner) else type(owner)
    if (kind.__module__, f"{kind.__qualname__}.{name}") in _METHODS:
        return getattr(owner, name)
    msg = "getattr of"
    raise _forbidden(msg, f"{kind.__qualname__}.{name}")


def _forbidden(module: str, name: str) -> ForbiddenClassError:
    msg = (
        f"found an artifact that names {module}.{name}, expected only classes of river and plain values; it is not "
        "opened. Run `headrace registry verify`; a class of your own is allowed by `factory:` in the specification"
    )
    return ForbiddenClassError(msg)
