"""Writes and reads pickles that may name only what is listed: no module prefixes, attribute access or free calls.

A signature says who wrote an artifact; this list limits what even a signed artifact may do.
"""

import copyreg
import functools
import importlib
import inspect
import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any, Self

from river.optim import initializers

from service.errors import ArtifactError, EnvironmentChangedError, ForbiddenClassError, OtherReleaseError
from service.learning import catalogue, pickled
from service.learning.pickling.class_guard import ClassGuard
from service.learning.river_internals import compiled_modules

_PLAIN_TYPES = {
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
}
_WRAPPER_CLASSES = {
    ("sklearn.neural_network._stochastic_optimizers", "AdamOptimizer"),
    ("sklearn.neural_network._stochastic_optimizers", "SGDOptimizer"),
    ("sklearn.preprocessing._label", "LabelBinarizer"),
    *(("sklearn._loss._loss", name) for name in ("CyHalfBinomialLoss", "CyHalfSquaredError", "CyHuberLoss")),
    *(
        ("sklearn.linear_model._sgd_fast", name)
        for name in ("Hinge", "SquaredHinge", "ModifiedHuber", "EpsilonInsensitive", "SquaredEpsilonInsensitive")
    ),
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
        ("river.metrics.mutual_info", "_average_arithmetic"),
        ("copy", "deepcopy"),
    }
)
_CLONE_METHOD_MODULES = ("river.metrics.", "river.stats.", "river.proba.")
"""Bandits keep the method `clone` of their reward object, which is of one of these modules."""
_CALLABLE_INSTANCES = (initializers.Constant, initializers.Normal, initializers.Zeros)
_FORBIDDEN_MODULES = (
    *("river.checks", "river.compat.river_to_sklearn", "river.evaluate", "river.stream", "river.datasets"),
    *("river.bandit.datasets", "river.bandit.envs", "river.drift.datasets"),
)
"""Modules that open files or connections, unpickle files, or build benchmarks from those that do."""


def dumps(value: Any) -> bytes:
    """Return the value's pickle, protocol 5; raise ArtifactError if it cannot be pickled."""
    target = io.BytesIO()
    try:
        _Writer(target).dump(value)
        return target.getvalue()
    except Exception as error:
        msg = f"found a {type(value).__name__} that cannot be pickled ({error}); choose another estimator"
        raise ArtifactError(msg) from error


def loads(data: bytes, *, extra: frozenset[tuple[str, str]] = frozenset()) -> Any:
    """Return the pickled value.

    Raise ForbiddenClassError for a name that is not listed, before anything under it runs, and ArtifactError for bytes
    that are no readable pickle. `extra` holds (module, class) pairs that the user has allowed by choosing a factory.
    """
    class_guard = ClassGuard()
    try:
        return _Reader(io.BytesIO(data), extra, class_guard).load()
    except (OtherReleaseError, EnvironmentChangedError, KeyboardInterrupt, SystemExit, MemoryError):
        # A MemoryError says nothing against the artifact: no checkpoint is given up because of it.
        raise
    except BaseException as error:  # a panic of compiled code does not derive from Exception
        msg = (
            f"found {len(data)} bytes that are no readable state ({type(error).__name__}: {error}); "
            "run `headrace registry verify`"
        )
        raise ArtifactError(msg) from error
    finally:
        changed = class_guard.restore()
        if changed is not None:
            msg = f"a change of {changed}"
            raise _forbidden(msg)


@functools.cache
def is_allowed(module: str, name: str) -> bool:
    """Return whether the name is a river class, a catalogued class of scikit-learn, or a plain value.

    Only the module in question is loaded, so that an artifact opens without all of river.
    """
    wanted = (module, name)
    if wanted in _PLAIN_TYPES or wanted in _WRAPPER_CLASSES:
        return True
    if module.startswith(catalogue.SKLEARN_PREFIX):
        return wanted in {(one.__module__, one.__qualname__) for one in _sklearn_classes()}
    return wanted in _compiled_classes() or (module.startswith("river.") and _is_river_class(module, name))


def _sklearn_classes() -> list[type]:
    found = [catalogue.get_class(f"{catalogue.SKLEARN_PREFIX}{dotted}") for dotted in catalogue.SKLEARN_CLASSES]
    return [one for one in found if one is not None]


def _is_river_class(module: str, name: str) -> bool:
    if _is_forbidden_module(module) or ".test" in module:
        return False
    try:
        found = vars(importlib.import_module(module)).get(name)
    except ImportError:
        return False
    return found is not None and _is_plain_class(found) and (found.__module__, found.__qualname__) == (module, name)


def _is_plain_class(value: Any) -> bool:
    """Return whether the value is a class and no metaclass, which would make classes with foreign methods."""
    return inspect.isclass(value) and not issubclass(value, type)


def _is_forbidden_module(module: str) -> bool:
    return module.startswith(_FORBIDDEN_MODULES)


@functools.cache
def _compiled_classes() -> frozenset[tuple[str, str]]:
    """Return the compiled classes, which name themselves without their package."""
    return frozenset(
        (value.__module__, value.__qualname__)
        for module in compiled_modules()
        for value in vars(module).values()
        if inspect.isclass(value) and "_river_rust" in value.__module__
    )


class _Writer(pickle.Pickler):
    """Writes search trees of any depth, and our own names as `pickled` lists them."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.dispatch_table = {**copyreg.dispatch_table, **pickled.REDUCERS}


class _Reader(pickle.Unpickler):
    """Finds listed names only; `getattr` and `partial` are replaced by checked stand-ins."""

    def __init__(self, file: io.BytesIO, extra: frozenset[tuple[str, str]], class_guard: ClassGuard) -> None:
        super().__init__(file)
        self._extra = extra
        self._class_guard = class_guard

    def find_class(self, module: str, name: str) -> Any:
        """Return the listed object, or raise ForbiddenClassError."""
        found = self._found((module, name))
        if (module, name) not in self._extra:
            self._class_guard.remember(found)
        return found

    def persistent_load(self, pid: Any) -> Any:
        """Raise ForbiddenClassError, since no artifact of ours has persistent ids."""
        msg = f"a persistent id, {str(pid)[:50]}"
        raise _forbidden(msg)

    def _found(self, wanted: tuple[str, str]) -> Any:
        if wanted in _STAND_INS:
            return _STAND_INS[wanted]
        if wanted in pickled.FUNCTIONS:
            return pickled.FUNCTIONS[wanted]
        if wanted in pickled.OLD_NAMES:
            return pickled.OLD_NAMES[wanted]()
        if is_allowed(*wanted) or wanted in self._extra or wanted in _METHODS or wanted in _FUNCTIONS:
            return super().find_class(*wanted)
        raise _forbidden(".".join(wanted))


class _Partial(functools.partial[Any]):
    """A partial that wraps only a listed class or function, also after BUILD has set its state."""

    def __new__(cls, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Self:
        """Raise ForbiddenClassError for a function that is not listed."""
        _require_listed(function)
        return super().__new__(cls, function, *arguments, **named)

    def __setstate__(self, state: Any) -> None:
        """Raise ForbiddenClassError if the new state holds a function that is not listed."""
        _require_listed(state[0])
        plain: Any = super()
        plain.__setstate__(state)

    def __reduce__(self) -> Any:
        """Return what functools writes for its own partial."""
        return functools.partial, (self.func,), (self.func, self.args, self.keywords, vars(self) or None)


def _require_listed(function: Any) -> None:
    name = (getattr(function, "__module__", None), getattr(function, "__qualname__", None))
    module, qualified = str(name[0]), str(name[1])
    listed = (module, qualified) in _FUNCTIONS or is_allowed(module, qualified)
    if type(function) in _CALLABLE_INSTANCES or (listed and _resolve_name(module, qualified) is function):
        return
    msg = f"functools.partial over {name[1] or type(function).__name__!r:.80}"
    raise _forbidden(msg)


def _checked_getattr(owner: Any, name: str) -> Any:
    kind = owner if inspect.isclass(owner) else type(owner)
    own = {} if owner is kind else getattr(owner, "__dict__", {})
    listed = (kind.__module__, f"{kind.__qualname__}.{name}") in _METHODS or (
        name == "clone" and kind.__module__.startswith(_CLONE_METHOD_MODULES)
    )
    if listed and name not in own and _resolve_name(kind.__module__, kind.__qualname__) is kind:
        return getattr(owner, name)
    msg = f"getattr of {kind.__qualname__}.{name!s:.80}"
    raise _forbidden(msg)


def _resolve_name(module: str, name: str) -> Any:
    """Return the object that really has this name, whatever other objects claim it."""
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))


_STAND_INS: Mapping[tuple[str, str], Any] = {
    ("builtins", "getattr"): _checked_getattr,
    ("functools", "partial"): _Partial,
}


def _forbidden(what: str) -> ForbiddenClassError:
    msg = (
        f"found an artifact that names {what}, expected only classes of river and plain values; it is not "
        "opened. Run `headrace registry verify`; a class of your own is allowed by `factory:` in the specification"
    )
    return ForbiddenClassError(msg)
