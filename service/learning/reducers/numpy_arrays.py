"""Writes NumPy's values into a pickle by type code, shape and bytes.

Pickle's own form holds a dtype object whose state may declare any bytes to be pointers to objects.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from service.errors import ArtifactError

_TYPE_CODE = re.compile(r"[<>|=](?:[biufcSU]\d+|[mM]8(?:\[\w+\])?|O)")
_BIT_GENERATORS: Mapping[str, Callable[[], Any]] = {"MT19937": np.random.MT19937, "PCG64": np.random.PCG64}
_MT19937_WORDS = 624


def numpy_array(code: str, shape: Sequence[int], order: str, data: Any) -> npt.NDArray[Any]:
    """Return the array with these bytes, or with these items where it holds objects."""
    kind = _dtype_of(code)
    if kind.hasobject:
        return np.fromiter(data, dtype=kind, count=len(data)).reshape(shape, order="F" if order == "F" else "C")
    return np.ndarray(tuple(shape), dtype=kind, buffer=bytearray(data), order="F" if order == "F" else "C")


def numpy_scalar(code: str, data: bytes) -> Any:
    """Return NumPy's own number, string or time; raise ArtifactError for an object."""
    kind = _dtype_of(code)
    if kind.hasobject:
        msg = f"found a scalar of type {code}, expected a number, a string or a time"
        raise ArtifactError(msg)
    return np.ndarray((), dtype=kind, buffer=bytearray(data))[()]


def numpy_random_state(state: Mapping[str, Any]) -> np.random.RandomState:
    """Return a legacy NumPy random generator (`RandomState`) in this state."""
    found = np.random.RandomState(0)
    found.set_state(_valid_state(state))
    return found


def numpy_generator(state: Mapping[str, Any]) -> np.random.Generator:
    """Return a NumPy random generator (`Generator`) in this state."""
    bits = _BIT_GENERATORS[state["bit_generator"]]()
    bits.state = _valid_state(state)
    return np.random.Generator(bits)


def _valid_state(state: Mapping[str, Any]) -> Any:
    """Return the state, or raise ArtifactError if its position lies outside of the key.

    NumPy does not check this itself.
    """
    index = state["state"].get("pos", 0)
    if not 0 <= index <= _MT19937_WORDS:
        msg = f"found a generator of random numbers at place {index}, expected 0 to {_MT19937_WORDS}"
        raise ArtifactError(msg)
    return state


def _dtype_of(code: str) -> np.dtype[Any]:
    if not isinstance(code, str) or not _TYPE_CODE.fullmatch(code):
        msg = f"found an array of type {code!r:.80}, expected numbers, strings, times or objects"
        raise ArtifactError(msg)
    return np.dtype(code)


def array_parts(value: npt.NDArray[Any]) -> tuple[Any, ...]:
    """Return the arguments of `numpy_array` that rebuild this array.

    Raise ArtifactError for a type that no artifact may hold.
    """
    _dtype_of(value.dtype.str)
    order: Literal["F", "C"] = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    data = value.ravel(order).tolist() if value.dtype.hasobject else value.tobytes(order)
    return value.dtype.str, value.shape, order, data


def scalar_parts(value: np.generic) -> tuple[Any, ...]:
    """Return the arguments of `numpy_scalar`."""
    return value.dtype.str, value.tobytes()


def generator_parts(value: np.random.Generator) -> tuple[Any, ...]:
    """Return the arguments of `numpy_generator`."""
    return (value.bit_generator.state,)


def random_state_parts(value: np.random.RandomState) -> tuple[Any, ...]:
    """Return the arguments of `numpy_random_state`."""
    return (value.get_state(legacy=False),)


SCALARS = frozenset(set(np.sctypeDict.values()) - {np.object_, np.void})
"""NumPy's types of single values."""
