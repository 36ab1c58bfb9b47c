"""Private parts of Python's standard library are as the program assumes."""

import copyreg
import inspect
import sys
from concurrent.futures import thread

from service.cli.process import exit as exit_module
from service.learning.pickling import class_guard


class _Slotted:
    __slots__ = ("one",)


def test_pools_are_ended_as_the_interpreter_does() -> None:
    """The function that wakes idle threads of pools takes no arguments."""
    why = f"Python {sys.version} differs: adapt {exit_module.__file__}"
    assert not inspect.signature(thread._python_exit).parameters, why


def test_slot_names_are_kept_on_the_class() -> None:
    """The function that pickle asks for a class's slots caches them on the class."""
    why = f"Python {sys.version} differs: adapt {class_guard.__file__}"
    assert vars(copyreg)["_slotnames"](_Slotted) == ["one"], why
    assert "__slotnames__" in vars(_Slotted), why
