"""From a specification's data to river's objects; nothing is ever evaluated.

A name stands for a class with its defaults, `{name: {parameter: value}}` for one with parameters,
`{name: [arguments]}` for positional ones, and a list of steps for a pipeline.
"""

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from river import base, compat, compose

from service.domain.events import Task
from service.errors import SpecificationError
from service.learning import catalogue

SEEDS = ("seed", "random_state")


def build(expression: Any, *, task: Task, seed: int, path: str = "estimator") -> Any:
    """An estimator for the task; SpecificationError says where the expression is wrong."""
    if expression is None:
        raise SpecificationError(path, "found nothing, expected an estimator such as linear_model.LogisticRegression")
    found = _build(expression, seed=seed, path=path)
    found = _as_river(found, task=task)
    _require_task(found, task=task, path=path)
    return found


def build_part(expression: Any, *, seed: int, path: str) -> Any:
    """A metric, detector, optimizer or any other object."""
    return _build(expression, seed=seed, path=path)


def load_factory(reference: str) -> Any:
    """What the user's own `package.module:function` makes; it must predict and learn one event."""
    module, _, name = reference.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError) as error:
        msg = "factory"
        raise SpecificationError(msg, f"found {reference!r}, which cannot be imported: {error}") from error
    missing = [method for method in ("predict_one", "learn_one") if not callable(getattr(made, method, None))]
    if missing:
        msg = "factory"
        raise SpecificationError(msg, f"found a {type(made).__name__} without {', '.join(missing)}")
    return made


def allowed_classes_of(estimator: Any) -> frozenset[tuple[str, str]]:
    """The classes of a user's own estimator, which the user has allowed by choosing its factory."""
    home = type(estimator).__module__.partition(".")[0]
    seen: set[int] = set()
    found: set[tuple[str, str]] = set()
    todo = [estimator]
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if type(value).__module__.partition(".")[0] == home:
            found.add((type(value).__module__, type(value).__qualname__))
        todo += _parts(value)
    return frozenset(found)


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    return list(getattr(value, "__dict__", {}).values())


def _build(expression: Any, *, seed: int, path: str) -> Any:
    if isinstance(expression, str) and _is_name(expression):
        return _made(expression, {}, seed=seed, path=path)
    if isinstance(expression, list):
        return _pipeline(expression, seed=seed, path=path)
    if isinstance(expression, Mapping) and len(expression) == 1 and _is_name(next(iter(expression))):
        name, arguments = next(iter(expression.items()))
        return _made(name, arguments, seed=seed, path=path)
    raise SpecificationError(
        path, f"found {expression!r:.80}, expected a name, {{name: parameters}} or a list of steps"
    )


def _is_name(text: object) -> bool:
    return isinstance(text, str) and "." in text and text.replace(".", "").replace("_", "").isalnum()


def _pipeline(steps: Sequence[Any], *, seed: int, path: str) -> Any:
    if not steps:
        raise SpecificationError(path, "found an empty list, expected at least one step")
    return compose.Pipeline(*(_build(step, seed=seed, path=f"{path}[{i}]") for i, step in enumerate(steps)))


def _made(name: str, arguments: Any, *, seed: int, path: str) -> Any:
    place = f"{path}.{name}"
    found = catalogue.find(name, path=place)
    known = catalogue.parameters(found)
    positional = (
        [_value(v, seed=seed, path=f"{place}[{i}]") for i, v in enumerate(arguments)]
        if isinstance(arguments, list)
        else []
    )
    named = _named(arguments, known, seed=seed, path=place)
    for key in SEEDS:
        if key in known and key not in named:
            named[key] = _seed(seed, place)
    try:
        return found(*positional, **named)
    except Exception as error:
        raise SpecificationError(place, f"cannot be built: {type(error).__name__}: {error}") from error


def _named(arguments: Any, known: Mapping[str, Any], *, seed: int, path: str) -> dict[str, Any]:
    if arguments is None or isinstance(arguments, list):
        return {}
    if not isinstance(arguments, Mapping):
        raise SpecificationError(path, f"found {arguments!r:.80}, expected its parameters by name")
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    for key in arguments:
        if key not in known and not open_ended:
            msg = f"{path}.{key}"
            raise SpecificationError(msg, f"found no such parameter{catalogue.nearest(str(key), known)}")
    return {str(key): _value(value, seed=seed, path=f"{path}.{key}") for key, value in arguments.items()}


def _value(value: Any, *, seed: int, path: str) -> Any:
    """A parameter: an object where it names one, else the plain value."""
    if isinstance(value, str):
        return _build(value, seed=seed, path=path) if value in catalogue.classes() else value
    if isinstance(value, Mapping):
        if len(value) == 1 and _is_name(next(iter(value))):
            return _build(value, seed=seed, path=path)
        return {key: _value(one, seed=seed, path=f"{path}.{key}") for key, one in value.items()}
    if isinstance(value, list):
        return [_value(one, seed=seed, path=f"{path}[{i}]") for i, one in enumerate(value)]
    return value


def _seed(seed: int, path: str) -> int:
    """A seed of its own for each place, always the same."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{path}".encode()).digest()[:4], "big") % 2**31


def _as_river(found: Any, *, task: Task) -> Any:
    """Scikit-learn's estimators in river's dress, alone or at the end of a pipeline."""
    if isinstance(found, compose.Pipeline):
        *heads, (name, last) = found.steps.items()
        return compose.Pipeline(*heads, (name, _as_river(last, task=task)))
    if isinstance(found, base.Base):
        return found
    if task is Task.REGRESSION:
        return compat.convert_sklearn_to_river(found)
    classes: list[bool | str | int] = [False, True] if task is Task.BINARY else list(range(32))
    return compat.convert_sklearn_to_river(found, classes=classes)


def _require_task(found: Any, *, task: Task, path: str) -> None:
    last: Any = list(found.steps.values())[-1] if isinstance(found, compose.Pipeline) else found
    wanted = base.Regressor if task is Task.REGRESSION else base.Classifier
    if not isinstance(last, wanted):
        name = f"{type(last).__module__.split('.')[1]}.{type(last).__name__}"
        kind = "regressor" if task is Task.REGRESSION else "classifier"
        raise SpecificationError(path, f"found {name} at the end, expected a {kind} for the task {task}")
    final: Any = last
    if task is Task.MULTICLASS and not final._multiclass:
        name = type(last).__name__
        raise SpecificationError(
            path, f"found {name}, which knows two classes; wrap it in multiclass.OneVsRestClassifier"
        )
