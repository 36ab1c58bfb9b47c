"""Search spaces inside of an expression: a range of numbers, or a choice that may hold spaces itself.

A space is a mapping whose only key says its kind: `{log_uniform: [0.0001, 0.1]}`. Its name is its place in the
expression. What lies within an option of a choice is named through the option, as in
`optimizer.choice[1].optim.SGD.lr`: each name always means one space, which is there only where its option was chosen.
"""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from service.errors import SpecificationError


@dataclass(frozen=True, slots=True)
class Numbers:
    """Any number between two, both included."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, slots=True)
class Integers:
    """`low`, `low + step`, and so on up to `high`, if that is one of them."""

    low: int
    high: int
    step: int = 1
    log: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several; each may hold spaces."""

    options: tuple[Any, ...]


Space: TypeAlias = Numbers | Integers | Choice
Pick: TypeAlias = Callable[[str, Space], Any]
"""Decides a space by its name: a number, or the index of an option."""

KINDS = ("uniform", "log_uniform", "int", "log_int", "choice")
_RANGES = ("uniform", "log_uniform", "log_int")


@dataclass(frozen=True, slots=True)
class Variant:
    """An expression without spaces; `moved` leads from its places to those in the expression as it was written."""

    value: Any
    moved: Mapping[str, str] = field(default_factory=dict)

    def written(self, path: str) -> str:
        """The place in the file that this one came from."""
        known = max((at for at in self.moved if _within(path, at)), key=len, default=None)
        return path if known is None else self.moved[known] + path[len(known) :]


def space_of(node: Any, *, path: str) -> Space | None:
    """The space that a node is, None where it is none; SpecificationError for one that nothing can lie in."""
    if not isinstance(node, Mapping) or len(node) != 1:
        return None
    kind, arguments = next(iter(node.items()))
    if kind not in KINDS:
        _require_no_slip(kind, arguments, path)
        return None
    if kind == "choice":
        if not isinstance(arguments, list | tuple) or not arguments:
            raise SpecificationError(path, f"found choice of {arguments!r:.80}, expected a list of options")
        return Choice(tuple(arguments))
    if kind in {"int", "log_int"}:
        return _integers(kind, arguments, path)
    return _numbers(kind, arguments, path)


def written(space: Space) -> dict[str, Any]:
    """As it stands in a file."""
    if isinstance(space, Choice):
        return {"choice": list(space.options)}
    if isinstance(space, Numbers):
        return {"log_uniform" if space.log else "uniform": [space.low, space.high]}
    step = [] if space.step == 1 else [space.step]
    return {"log_int" if space.log else "int": [space.low, space.high, *step]}


def children(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """What stands directly in a node that is no space."""
    if isinstance(node, Mapping):
        yield from ((f"{path}.{key}", one) for key, one in node.items())
    elif isinstance(node, list | tuple):
        yield from ((f"{path}[{index}]", one) for index, one in enumerate(node))


def spaces_in(node: Any, *, path: str) -> Iterator[tuple[str, Space]]:
    """Every space by its name, those within options too; SpecificationError for one that is wrong."""
    found = space_of(node, path=path)
    if found is not None:
        yield path, found
    inner = options(found, path) if isinstance(found, Choice) else () if found else children(node, path)
    for place, one in inner:
        yield from spaces_in(one, path=place)


def options(choice: Choice, path: str) -> Iterator[tuple[str, Any]]:
    """Each option with its name."""
    return ((f"{path}.choice[{index}]", one) for index, one in enumerate(choice.options))


def filled(node: Any, *, path: str, pick: Pick) -> tuple[Any, dict[str, Any]]:
    """The expression with every space decided, and what was decided: a number, or an option without spaces."""
    space = space_of(node, path=path)
    if isinstance(space, Choice):
        index = pick(path, space)
        chosen, inner = filled(space.options[index], path=f"{path}.choice[{index}]", pick=pick)
        return chosen, {path: chosen, **inner}
    if space is not None:
        value = pick(path, space)
        return value, {path: value}
    parts = [filled(one, path=place, pick=pick) for place, one in children(node, path)]
    return _rebuilt(node, [part for part, _ in parts]), {name: one for _, found in parts for name, one in found.items()}


def size(node: Any, *, path: str) -> float:
    """How many different expressions it holds; infinity where a range of numbers is among them."""
    space = space_of(node, path=path)
    if isinstance(space, Numbers):
        return math.inf
    if isinstance(space, Integers):
        return len(range(space.low, space.high + 1, space.step))
    if isinstance(space, Choice):
        return sum(size(one, path=place) for place, one in options(space, path))
    return math.prod(size(one, path=place) for place, one in children(node, path))


def variants(node: Any, *, path: str, at: str | None = None) -> list[Variant]:
    """Expressions in which, together, every option and both ends of every range occur; as few as that takes."""
    here = path if at is None else at
    space = space_of(node, path=path)
    if isinstance(space, Choice):
        found = [one for place, option in options(space, path) for one in _moved(option, place, here)]
    elif space is not None:
        found = [Variant(space.low), Variant(_highest(space))]
    else:
        found = _combined(node, path, here)
    return found


def _moved(option: Any, place: str, at: str) -> list[Variant]:
    return [Variant(one.value, {at: place, **one.moved}) for one in variants(option, path=place, at=at)]


def _combined(node: Any, path: str, at: str) -> list[Variant]:
    steps = [place[len(path) :] for place, _ in children(node, path)]
    parts = [variants(one, path=place, at=at + place[len(path) :]) for place, one in children(node, path)]
    if not steps:
        return [Variant(node)]
    rows = [[part[row % len(part)] for part in parts] for row in range(max(map(len, parts)))]
    return [
        Variant(
            _rebuilt(node, [one.value for one in row]),
            {place: name for one in row for place, name in one.moved.items()},
        )
        for row in rows
    ]


def _rebuilt(node: Any, parts: Sequence[Any]) -> Any:
    if isinstance(node, Mapping):
        return dict(zip(node, parts, strict=True))
    return list(parts) if isinstance(node, list | tuple) else node


def _highest(space: Numbers | Integers) -> float:
    if isinstance(space, Numbers):
        return space.high
    return range(space.low, space.high + 1, space.step)[-1]


def _within(path: str, place: str) -> bool:
    return path == place or (path.startswith(place) and path[len(place)] in ".[")


def _numbers(kind: str, arguments: Any, path: str) -> Numbers:
    low, high = _ends(kind, arguments, path)
    if kind == "log_uniform" and low <= 0:
        raise SpecificationError(path, f"found {kind} of {arguments}, expected ends above zero")
    return Numbers(float(low), float(high), log=kind == "log_uniform")


def _integers(kind: str, arguments: Any, path: str) -> Integers:
    stepped = kind == "int" and isinstance(arguments, list | tuple) and len(arguments) == 3
    low, high = _ends(kind, arguments[:2] if stepped else arguments, path)
    given = [low, high, *(arguments[2:] if stepped else ())]
    if not all(type(one) is int for one in given) or (stepped and given[2] < 1):
        raise SpecificationError(path, f"found {kind} of {arguments!r:.80}, expected integers, like {kind}: [3, 12]")
    if kind == "log_int" and low < 1:
        raise SpecificationError(path, f"found {kind} of {arguments}, expected ends above zero")
    return Integers(int(low), int(high), step=arguments[2] if stepped else 1, log=kind == "log_int")


def _ends(kind: str, arguments: Any, path: str) -> tuple[float, float]:
    example = f"the lowest and the highest, like {kind}: {[3, 12] if kind.endswith('int') else [0.001, 0.1]}"
    if not isinstance(arguments, list | tuple) or len(arguments) != 2 or not all(map(_is_number, arguments)):
        raise SpecificationError(path, f"found {kind} of {arguments!r:.80}, expected {example}")
    low, high = arguments
    if low >= high:
        raise SpecificationError(path, f"found {kind} of {arguments}, expected {example}, the lower one first")
    return low, high


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require_no_slip(kind: Any, arguments: Any, path: str) -> None:
    """A parameter may be a mapping of the user's own; one of two numbers under nearly a kind's name is a slip."""
    near = difflib.get_close_matches(str(kind), _RANGES, n=1, cutoff=0.8)
    if near and isinstance(arguments, list) and len(arguments) == 2 and all(map(_is_number, arguments)):
        raise SpecificationError(path, f"found {kind}, expected one of {', '.join(KINDS)}; did you mean {near[0]}?")
