"""Estimators made by a user's own function, and the classes that this choice allows to be unpickled."""

import importlib
import inspect
import sys
from collections.abc import Mapping
from typing import Any

from service.errors import SpecificationError

FACTORY_PATH = "factory"
INSTALL_HINT = "install its package beside headrace, or name its folder in PYTHONPATH"


def load_factory(reference: str) -> Any:
    """Return the result of the user's `package.module:function`; it must have `predict_one` and `learn_one`."""
    module, _, name = reference.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SpecificationError(
            FACTORY_PATH, f"found {reference!r}, which cannot be imported: {error}; {INSTALL_HINT}"
        ) from error
    try:
        made = function()
    except Exception as error:
        raise SpecificationError(FACTORY_PATH, f"{reference} throws {type(error).__name__}: {error}") from error
    missing = [method for method in ("predict_one", "learn_one") if not callable(getattr(made, method, None))]
    if missing:
        raise SpecificationError(FACTORY_PATH, f"found a {type(made).__name__} without {', '.join(missing)}")
    return made


def allowed_classes_of(estimator: Any) -> frozenset[tuple[str, str]]:
    """Return the classes of a user's own estimator, which the user has allowed by choosing its factory.

    These are the classes of its objects, and the others in their modules, because it may create those while it learns.
    """
    homes = {module for value in _reachable(estimator) if _is_own(module := type(value).__module__)}
    return frozenset(
        (value.__module__, value.__qualname__)
        for home in homes
        for value in vars(sys.modules[home]).values()
        if inspect.isclass(value) and value.__module__ == home
    )


def _is_own(module: str) -> bool:
    top = module.partition(".")[0]
    return top not in sys.stdlib_module_names | {"river", "sklearn", "numpy", "service"} and module in sys.modules


def _reachable(estimator: Any) -> list[Any]:
    seen: dict[int, Any] = {}
    todo = [estimator]
    while todo:
        value = todo.pop()
        if id(value) not in seen:
            seen[id(value)] = value
            todo += _members(value)
    return list(seen.values())


def _members(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if inspect.isclass(value) or inspect.ismodule(value) or inspect.isroutine(value):
        return []
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    return [*getattr(value, "__dict__", {}).values(), *(getattr(value, name, None) for name in slots)]
