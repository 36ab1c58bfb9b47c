"""Checks of parameters against the annotations of river's constructors, where river would fail only while learning."""

import importlib
import inspect
import re
from typing import Any

from service.learning.estimators.capabilities import final_step

_PLAIN: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "None": (type(None),),
    "Optional": (type(None),),
}
_CHECKED_BASES = ("optim.", "base.Classifier", "base.Regressor", "base.Estimator")
"""Other annotations of river are not always true."""


def takes_only_objects(parameter: inspect.Parameter | None) -> bool:
    """Return whether the parameter takes only objects, so that a text must be a class name."""
    kinds = _annotation_names(parameter)
    return bool(kinds) and "str" not in kinds and any(_is_object(kind) for kind in kinds)


def parameter_problem(value: Any, parameter: inspect.Parameter | None) -> str | None:
    """Return why a value is certainly wrong, or None."""
    kinds = _annotation_names(parameter)
    if parameter is None or (isinstance(value, str) and type(parameter.default) in {int, float, bool} and not kinds):
        return None if parameter is None else f"found {value!r:.80}, expected a value such as {parameter.default}"
    if not kinds:
        return None
    expected = f"expected {parameter.annotation}"
    if isinstance(value, str | int | float | None):
        return None if _fits_plain(value, kinds) else f"found {value!r:.80}, {expected}"
    value = final_step(value)
    wanted = [found for kind in kinds if kind.startswith(_CHECKED_BASES) and (found := _resolved(kind))]
    if not wanted or len(wanted) + len(kinds & _PLAIN.keys()) < len(kinds):
        return None
    return None if isinstance(value, tuple(wanted)) else f"found {type(value).__name__}, {expected}"


def _fits_plain(value: float | str | None, kinds: set[str]) -> bool:
    if not all(kind in _PLAIN or _is_object(kind) for kind in kinds):
        return True
    if isinstance(value, bool):
        return bool(kinds & {"bool", "int"})
    return any(isinstance(value, _PLAIN[kind]) for kind in kinds if kind in _PLAIN)


def _annotation_names(parameter: inspect.Parameter | None) -> set[str]:
    """Return the names in an annotation such as `optim.base.Optimizer | None`; empty without one."""
    if parameter is None or not isinstance(parameter.annotation, str):
        return set()
    return set(re.findall(r"[A-Za-z_][\w.]*", parameter.annotation))


def _is_object(kind: str) -> bool:
    return "." in kind and not kind.startswith("typing.") and ".typing." not in kind


def _resolved(kind: str) -> type | None:
    module, *steps = kind.split(".")
    try:
        found: Any = importlib.import_module(f"river.{module}")
    except ImportError:
        return None
    for step in steps:
        found = getattr(found, step, None)
    return found if inspect.isclass(found) else None
