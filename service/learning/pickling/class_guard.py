"""Notices, and undoes, what a pickle does to classes and functions instead of to its own objects.

Pickle's BUILD sets attributes of whatever it is given; on a class they would stay for the whole process.
"""

import copyreg
import inspect
from collections.abc import Mapping
from typing import Any

_FUNCTION_ATTRIBUTES = (
    "__code__",
    "__defaults__",
    "__kwdefaults__",
    "__module__",
    "__name__",
    "__qualname__",
    "__doc__",
)
_CLASS_ATTRIBUTES = ("__bases__", "__name__", "__qualname__")
_IMMUTABLE_TYPE, _HEAP_TYPE = 1 << 8, 1 << 9


class ClassGuard:
    """Remembers what classes and functions were like before a pickle was read."""

    def __init__(self) -> None:
        self._before: dict[Any, Mapping[str, Any]] = {}

    def remember(self, found: Any) -> None:
        """Remember the class or function as it is now."""
        if found in self._before or not (_is_open_class(found) or inspect.isfunction(found)):
            return
        if inspect.isclass(found):
            _fill_caches(found)
        self._before[found] = _attributes_of(found)

    def restore(self) -> str | None:
        """Undo every change, and return the dotted name of a changed attribute, or None."""
        changed = None
        for found, before in self._before.items():
            now = _attributes_of(found)
            differing = [name for name in {**before, **now} if before.get(name, self) is not now.get(name, self)]
            for name in differing:
                _restore_attribute(found, name, before)
                changed = f"{before['__module__']}.{before['__qualname__']}.{name}"
        return changed


def _is_open_class(found: Any) -> bool:
    return inspect.isclass(found) and bool(found.__flags__ & _HEAP_TYPE) and not found.__flags__ & _IMMUTABLE_TYPE


def _fill_caches(found: type) -> None:
    """Fill the caches that Python sets on a class at first use, which must not look like a change."""
    slots: Any = vars(copyreg)["_slotnames"]
    slots(found)
    inspect.get_annotations(found)


def _attributes_of(found: Any) -> dict[str, Any]:
    names = _CLASS_ATTRIBUTES if inspect.isclass(found) else _FUNCTION_ATTRIBUTES
    return {**vars(found), **{name: getattr(found, name) for name in names}}


def _restore_attribute(found: Any, name: str, before: Mapping[str, Any]) -> None:
    if name in before:
        setattr(found, name, before[name])
    else:
        delattr(found, name)
