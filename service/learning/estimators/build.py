"""Construction of river objects from a specification's expressions; nothing is ever evaluated.

A name stands for a class with its defaults, `{name: {parameter: value}}` for one with parameters, `{name: [arguments]}`
for positional ones, a list of steps for a pipeline, and `{"+": [parts]}` for a union. A scikit-learn classifier takes
`classes` beside its own parameters.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from river import base, compose

from service.domain.stream.events import Task
from service.errors import ArtifactError, SpecificationError
from service.lazy import lazy_imports
from service.learning import catalogue, river_internals, scikit_internals
from service.learning.batch import catalogue as batch_catalogue
from service.learning.estimators import capabilities, parameters
from service.learning.estimators.expression_location import ExpressionLocation
from service.learning.estimators.factories import allowed_classes_of, load_factory
from service.learning.pickling import codec

with lazy_imports():
    # scikit-learn takes longer to import than all else together, and few estimators name it
    from service.learning.batch import estimators as batch_estimators
    from service.learning.estimators import sklearn_online

__all__ = [
    "allowed_classes_of",
    "estimator_from_expression",
    "load_factory",
    "object_from_expression",
    "require_batch_support",
]

SEED_PARAMETERS = ("seed", "random_state")
UNION_KEY = "+"
ROOT_KEY = "estimator"
LIST_PARAMETERS = ("models", "transformers")
"""Parameters in which a list of estimators is not a pipeline."""
_TYPES = {"int": int, "float": float, "str": str, "bool": bool}
_TAKES_FEATURE_NAMES = ("compose.Select", "compose.Discard", "compose.Prefixer", "compose.Suffixer", "compose.Renamer")
"""Classes whose arguments are feature names, even where these look like class names."""


def estimator_from_expression(expression: Any, *, task: Task, seed: int, path: str = "estimator") -> Any:
    """Return an estimator for the task; raise SpecificationError with the place where the expression is wrong."""
    if expression is None:
        raise SpecificationError(path, "found nothing, expected an estimator such as linear_model.LogisticRegression")
    found = _build(expression, ExpressionLocation(path, ROOT_KEY, seed, task))
    _require_task(found, task=task, path=path)
    try:
        codec.loads(codec.dumps(found))
    except ArtifactError as error:
        raise SpecificationError(path, f"would survive no checkpoint: {error}") from error
    return found


def require_batch_support(estimator: Any, *, batch: int, path: str = "learn.batch") -> None:
    """Raise SpecificationError if `batch` asks for micro-batches that the estimator cannot learn."""
    part = capabilities.part_without_learn_many(estimator) if batch > 1 else None
    if part is not None:
        raise SpecificationError(
            path, f"found {batch}, but {part} cannot learn a batch: it has no learn_many; expected 1"
        )


def object_from_expression(expression: Any, *, seed: int, path: str) -> Any:
    """Return a metric, detector, optimizer or any other object."""
    return _build(expression, ExpressionLocation(path, path, seed, None))


def _build(expression: Any, location: ExpressionLocation) -> Any:
    if isinstance(expression, str) and _is_name(expression):
        return _instance(expression, {}, location)
    if isinstance(expression, list):
        return _pipeline(expression, location)
    if isinstance(expression, Mapping) and len(expression) == 1 and _is_name(next(iter(expression))):
        name, arguments = next(iter(expression.items()))
        return _union(arguments, location.child(".+")) if name == UNION_KEY else _instance(name, arguments, location)
    raise SpecificationError(
        location.path, f"found {expression!r:.80}, expected a name, {{name: parameters}} or a list of steps"
    )


def _is_name(text: object) -> bool:
    if not isinstance(text, str):
        return False
    return text == UNION_KEY or (
        "." in text and text.replace(".", "").replace("_", "").isalnum() and not text[0].isdigit()
    )


def _pipeline(steps: Sequence[Any], location: ExpressionLocation) -> Any:
    if not steps:
        raise SpecificationError(location.path, "found an empty list, expected at least one step")
    return _composed(
        compose.Pipeline, [_build(step, location.child(f"[{i}]")) for i, step in enumerate(steps)], location
    )


def _union(parts: Any, location: ExpressionLocation) -> Any:
    if not isinstance(parts, list) or not parts:
        raise SpecificationError(location.path, f"found {parts!r:.80}, expected a list of transformers")
    return _composed(
        compose.TransformerUnion, [_build(one, location.child(f"[{i}]")) for i, one in enumerate(parts)], location
    )


def _composed(kind: Any, parts: Sequence[Any], location: ExpressionLocation) -> Any:
    for index, part in enumerate(parts):
        if not isinstance(part, base.Estimator):
            raise SpecificationError(
                location.child(f"[{index}]").path, f"found {type(part).__name__}, expected a transformer or a model"
            )
    try:
        return kind(*parts)
    except Exception as error:
        raise SpecificationError(location.path, f"cannot be composed: {type(error).__name__}: {error}") from error


def _instance(name: str, arguments: Any, outer: ExpressionLocation) -> Any:
    location = outer.child(f".{name}")
    if batch_catalogue.is_batch_name(name):
        return _batch_estimator(name, arguments, outer)
    found = catalogue.find_class(name, path=location.path)
    known = catalogue.constructor_parameters(found)
    positional = _positional(name, arguments, location) if isinstance(arguments, list) else []
    named = _named(name, arguments, location)
    for key in SEED_PARAMETERS:
        if key in known and key not in named:
            named[key] = location.own_seed()
    _require_needed(name, named, location)
    classes = named.pop("classes", None) if name.startswith(catalogue.SKLEARN_PREFIX) else None
    try:
        made = found(*positional, **named)
    except Exception as error:
        raise SpecificationError(location.path, f"cannot be built: {type(error).__name__}: {error}") from error
    return _river_wrapper(made, classes, location) if name.startswith(catalogue.SKLEARN_PREFIX) else made


def _batch_estimator(name: str, arguments: Any, outer: ExpressionLocation) -> Any:
    """Build a batch estimator, which must stand alone: transformers before it would keep learning beside it."""
    location = outer.child(f".{name}")
    if outer.key != ROOT_KEY:
        raise SpecificationError(
            location.path, f"found {name} as a part of an estimator, expected it alone; it has `scale` and `categories`"
        )
    parameters_, options = batch_catalogue.check_arguments(
        name, arguments, task=location.task, seed=location.own_seed(), path=location.path
    )
    return batch_estimators.made(name, parameters_, options)


def _require_needed(name: str, named: Mapping[str, Any], location: ExpressionLocation) -> None:
    for key, value in catalogue.REQUIRED_PARAMETERS.get(name, {}).items():
        if named.get(key) is None:
            raise SpecificationError(
                location.child(f".{key}").path, f"found nothing, expected {value}: river's default is not supported"
            )


def _positional(name: str, arguments: Sequence[Any], location: ExpressionLocation) -> list[Any]:
    if name in _TAKES_FEATURE_NAMES:
        return list(arguments)
    if name == "compose.SelectType":
        return [_type(one, location.child(f"[{i}]")) for i, one in enumerate(arguments)]
    known = list(catalogue.constructor_parameters(catalogue.find_class(name, path=location.path)).values())
    given = zip(arguments, [*known, *[None] * len(arguments)], strict=False)
    return [_value(one, location.child(f"[{i}]"), parameter) for i, (one, parameter) in enumerate(given)]


def _type(name: Any, location: ExpressionLocation) -> type:
    if not isinstance(name, str) or name not in _TYPES:
        raise SpecificationError(location.path, f"found {name!r:.80}, expected one of {', '.join(_TYPES)}")
    return _TYPES[name]


def _named(name: str, arguments: Any, location: ExpressionLocation) -> dict[str, Any]:
    if arguments is None or isinstance(arguments, list):
        return {}
    if not isinstance(arguments, Mapping):
        raise SpecificationError(location.path, f"found {arguments!r:.80}, expected its parameters by name")
    known: Mapping[str, Any] = catalogue.constructor_parameters(catalogue.find_class(name, path=location.path))
    if name.startswith(catalogue.SKLEARN_PREFIX):
        known = {**known, "classes": None}
    open_ended = any(one is not None and one.kind is one.VAR_KEYWORD for one in known.values())
    found = {}
    for key, value in arguments.items():
        here = location.child(f".{key}")
        if key not in known and not open_ended:
            raise SpecificationError(here.path, f"found no such parameter{catalogue.parameter_hint(str(key), known)}")
        found[str(key)] = value if name in _TAKES_FEATURE_NAMES else _value(value, here, known.get(key))
    return found


def _value(value: Any, location: ExpressionLocation, parameter: inspect.Parameter | None = None) -> Any:
    """Return a parameter's value: an object if it names a class, or else the plain value."""
    found = _object_or_plain(value, location, parameter)
    problem = parameters.parameter_problem(found, parameter)
    if problem is not None:
        raise SpecificationError(location.path, problem)
    return found


def _object_or_plain(value: Any, location: ExpressionLocation, parameter: inspect.Parameter | None) -> Any:
    if isinstance(value, str):
        return _build(value, location) if _names_class(value, parameter) else value
    if isinstance(value, Mapping):
        if len(value) == 1 and _is_name(next(iter(value))):
            return _build(value, location)
        return {_label_key(key): _value(one, location.child(f".{key}")) for key, one in value.items()}
    if isinstance(value, list):
        parts = [_value(one, location.child(f"[{i}]")) for i, one in enumerate(value)]
        plain = (parameter is not None and parameter.name in LIST_PARAMETERS) or not parts
        steps = all(isinstance(one, base.Estimator) for one in parts)
        return _composed(compose.Pipeline, parts, location) if steps and not plain else parts
    return value


def _names_class(text: str, parameter: inspect.Parameter | None) -> bool:
    """Return whether a text is meant to be a class name: `optim.SDG` is a typo, not a value."""
    if not _is_name(text):
        return False
    module, _, name = text.rpartition(".")
    return (
        parameters.takes_only_objects(parameter)
        or text == UNION_KEY
        or (catalogue.is_allowed_module(module) and name[:1].isupper())
    )


def _label_key(key: Any) -> Any:
    """Turn text keys into boolean labels; a specification stored as JSON has only text keys."""
    return {"true": True, "false": False}.get(key, key) if isinstance(key, str) else key


def _river_wrapper(made: Any, classes: Any, location: ExpressionLocation) -> Any:
    """Return scikit-learn's estimator with river's interface, after scikit-learn has validated its parameters."""
    try:
        scikit_internals.validate_parameters(made)
    except ValueError as error:
        raise SpecificationError(location.path, str(error)) from error
    if not hasattr(made, "partial_fit"):
        raise SpecificationError(
            location.path, "cannot learn event by event with these parameters: it has no partial_fit"
        )
    if sklearn_online.is_regressor(made):
        if classes is not None:
            raise SpecificationError(location.child(".classes").path, "found classes for a regressor, expected none")
        return sklearn_online.ScikitRegressor(made)
    if classes is None and location.task is Task.BINARY:
        classes = [False, True]
    _require_classes(classes, location.child(".classes"))
    return sklearn_online.ScikitClassifier(made, classes)


def _require_classes(classes: Any, location: ExpressionLocation) -> None:
    what = "expected the list of all labels, which scikit-learn must know before it learns the first"
    if not isinstance(classes, list) or len(classes) < 2:
        raise SpecificationError(location.path, f"found {classes!r:.80}, {what}")
    kinds = {type(label) for label in classes}
    if len(kinds) > 1 or not kinds <= {bool, int, str} or len(set(classes)) < len(classes):
        raise SpecificationError(
            location.path,
            f"found {classes!r:.80}, expected different labels of one type: strings, integers or booleans",
        )


def _require_task(found: Any, *, task: Task, path: str) -> None:
    last: Any = capabilities.final_step(found)
    wanted = base.Regressor if task is Task.REGRESSION else base.Classifier
    if not isinstance(last, wanted):
        kind = "regressor" if task is Task.REGRESSION else "classifier"
        raise SpecificationError(path, f"found {_class_name(last)} at the end, expected a {kind} for the task {task}")
    if task is Task.MULTICLASS and not river_internals.is_multiclass(last):
        raise SpecificationError(
            path, f"found {_class_name(last)}, which knows two classes; wrap it in multiclass.OneVsRestClassifier"
        )


def _class_name(one: Any) -> str:
    home = type(one).__module__.split(".")
    if home[0] == "service":
        return type(one.estimator).__name__
    return f"{home[1] if home[0] == 'river' else home[0]}.{type(one).__name__}"
