"""Search spaces inside of an expression: a range of numbers, or a choice whose options may hold spaces themselves.

A space is a mapping whose only key names its kind: `{log_uniform: [0.0001, 0.1]}`. Its name is its place in the
expression. A place within an option of a choice is named through the option, as in
`optimizer.choice[1].optim.SGD.lr`, so each name means one space, which exists only where its option was chosen.
"""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from service.errors import SpecificationError


@dataclass(frozen=True, slots=True)
class FloatRange:
    """Any number between two, both included."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, slots=True)
class IntRange:
    """The integers `low`, `low + step` and so on up to `high`; `high` counts only if a step reaches it."""

    low: int
    high: int
    step: int = 1
    log: bool = False


@dataclass(frozen=True, slots=True)
class ChoiceSpace:
    """One of several options; each may hold spaces."""

    options: tuple[Any, ...]


SearchSpace: TypeAlias = FloatRange | IntRange | ChoiceSpace
PickValue: TypeAlias = Callable[[str, SearchSpace], Any]
"""Decides the space of this name: returns a number, or the index of an option."""

SPACE_KINDS = ("uniform", "log_uniform", "int", "log_int", "choice")
_RANGES = ("uniform", "log_uniform", "log_int")


@dataclass(frozen=True, slots=True)
class ConcreteExpression:
    """An expression without spaces; `original_paths` maps its places to those in the expression as it was written."""

    value: Any
    original_paths: Mapping[str, str] = field(default_factory=dict)

    def original_path(self, path: str) -> str:
        """Return the place in the file that this place came from."""
        known = max((at for at in self.original_paths if _is_within(path, at)), key=len, default=None)
        return path if known is None else self.original_paths[known] + path[len(known) :]


def parse_space(node: Any, *, path: str) -> SearchSpace | None:
    """Return the space that the node is, or None; raise SpecificationError for a malformed or empty space."""
    if not isinstance(node, Mapping) or len(node) != 1:
        return None
    kind, arguments = next(iter(node.items()))
    if kind not in SPACE_KINDS:
        _require_no_typo(kind, arguments, path)
        return None
    if kind == "choice":
        if not isinstance(arguments, list | tuple) or not arguments:
            raise SpecificationError(path, f"found choice of {arguments!r:.80}, expected a list of options")
        return ChoiceSpace(tuple(arguments))
    if kind in {"int", "log_int"}:
        return _parse_int_range(kind, arguments, path)
    return _parse_float_range(kind, arguments, path)


def to_expression(space: SearchSpace) -> dict[str, Any]:
    """Return the space as it is written in a file."""
    if isinstance(space, ChoiceSpace):
        return {"choice": list(space.options)}
    if isinstance(space, FloatRange):
        return {"log_uniform" if space.log else "uniform": [space.low, space.high]}
    step = [] if space.step == 1 else [space.step]
    return {"log_int" if space.log else "int": [space.low, space.high, *step]}


def child_nodes(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the path and value of each direct child of a node that is no space."""
    if isinstance(node, Mapping):
        yield from ((f"{path}.{key}", one) for key, one in node.items())
    elif isinstance(node, list | tuple):
        yield from ((f"{path}[{index}]", one) for index, one in enumerate(node))


def iter_spaces(node: Any, *, path: str) -> Iterator[tuple[str, SearchSpace]]:
    """Yield every space with its name, those within options too; raise SpecificationError for a malformed one."""
    found = parse_space(node, path=path)
    if found is not None:
        yield path, found
    inner = choice_options(found, path) if isinstance(found, ChoiceSpace) else () if found else child_nodes(node, path)
    for child_path, one in inner:
        yield from iter_spaces(one, path=child_path)


def choice_options(choice: ChoiceSpace, path: str) -> Iterator[tuple[str, Any]]:
    """Return each option with its name."""
    return ((f"{path}.choice[{index}]", one) for index, one in enumerate(choice.options))


def fill_spaces(node: Any, *, path: str, pick: PickValue) -> tuple[Any, dict[str, Any]]:
    """Return the expression with every space decided by `pick`, and the values chosen by name."""
    space = parse_space(node, path=path)
    if isinstance(space, ChoiceSpace):
        index = pick(path, space)
        chosen, inner = fill_spaces(space.options[index], path=f"{path}.choice[{index}]", pick=pick)
        return chosen, {path: chosen, **inner}
    if space is not None:
        value = pick(path, space)
        return value, {path: value}
    parts = [fill_spaces(one, path=place, pick=pick) for place, one in child_nodes(node, path)]
    return _rebuilt(node, [part for part, _ in parts]), {name: one for _, found in parts for name, one in found.items()}


def expression_count(node: Any, *, path: str) -> float:
    """Return how many different expressions the node can become; infinity if it has a range of floats."""
    space = parse_space(node, path=path)
    if isinstance(space, FloatRange):
        return math.inf
    if isinstance(space, IntRange):
        return len(range(space.low, space.high + 1, space.step))
    if isinstance(space, ChoiceSpace):
        return sum(expression_count(one, path=place) for place, one in choice_options(space, path))
    return math.prod(expression_count(one, path=place) for place, one in child_nodes(node, path))


def covering_expressions(node: Any, *, path: str, at: str | None = None) -> list[ConcreteExpression]:
    """Return as few expressions as it takes for every option and both ends of every range to occur in one of them."""
    here = path if at is None else at
    space = parse_space(node, path=path)
    if isinstance(space, ChoiceSpace):
        found = [
            one for place, option in choice_options(space, path) for one in _option_expressions(option, place, here)
        ]
    elif space is not None:
        found = [ConcreteExpression(space.low), ConcreteExpression(_highest_value(space))]
    else:
        found = _combined_expressions(node, path, here)
    return found


def _option_expressions(option: Any, option_path: str, at: str) -> list[ConcreteExpression]:
    return [
        ConcreteExpression(one.value, {at: option_path, **one.original_paths})
        for one in covering_expressions(option, path=option_path, at=at)
    ]


def _combined_expressions(node: Any, path: str, at: str) -> list[ConcreteExpression]:
    steps = [place[len(path) :] for place, _ in child_nodes(node, path)]
    parts = [
        covering_expressions(one, path=place, at=at + place[len(path) :]) for place, one in child_nodes(node, path)
    ]
    if not steps:
        return [ConcreteExpression(node)]
    rows = [[part[row % len(part)] for part in parts] for row in range(max(map(len, parts)))]
    return [
        ConcreteExpression(
            _rebuilt(node, [one.value for one in row]),
            {place: name for one in row for place, name in one.original_paths.items()},
        )
        for row in rows
    ]


def _rebuilt(node: Any, parts: Sequence[Any]) -> Any:
    if isinstance(node, Mapping):
        return dict(zip(node, parts, strict=True))
    return list(parts) if isinstance(node, list | tuple) else node


def _highest_value(space: FloatRange | IntRange) -> float:
    if isinstance(space, FloatRange):
        return space.high
    return range(space.low, space.high + 1, space.step)[-1]


def _is_within(path: str, parent: str) -> bool:
    return path == parent or (path.startswith(parent) and path[len(parent)] in ".[")


def _parse_float_range(kind: str, arguments: Any, path: str) -> FloatRange:
    low, high = _parse_ends(kind, arguments, path)
    if kind == "log_uniform" and low <= 0:
        raise SpecificationError(path, f"found {kind} of {arguments}, expected ends above zero")
    return FloatRange(float(low), float(high), log=kind == "log_uniform")


def _parse_int_range(kind: str, arguments: Any, path: str) -> IntRange:
    stepped = kind == "int" and isinstance(arguments, list | tuple) and len(arguments) == 3
    low, high = _parse_ends(kind, arguments[:2] if stepped else arguments, path)
    given = [low, high, *(arguments[2:] if stepped else ())]
    if not all(type(one) is int for one in given) or (stepped and given[2] < 1):
        raise SpecificationError(path, f"found {kind} of {arguments!r:.80}, expected integers, like {kind}: [3, 12]")
    if kind == "log_int" and low < 1:
        raise SpecificationError(path, f"found {kind} of {arguments}, expected ends above zero")
    return IntRange(int(low), int(high), step=arguments[2] if stepped else 1, log=kind == "log_int")


def _parse_ends(kind: str, arguments: Any, path: str) -> tuple[float, float]:
    example = f"the lowest and the highest, like {kind}: {[3, 12] if kind.endswith('int') else [0.001, 0.1]}"
    if not isinstance(arguments, list | tuple) or len(arguments) != 2 or not all(map(_is_number, arguments)):
        raise SpecificationError(path, f"found {kind} of {arguments!r:.80}, expected {example}")
    low, high = arguments
    if low >= high:
        raise SpecificationError(path, f"found {kind} of {arguments}, expected {example}, the lower one first")
    return low, high


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require_no_typo(kind: Any, arguments: Any, path: str) -> None:
    """Raise SpecificationError for two numbers under nearly a kind's name; other mappings are parameters."""
    near = difflib.get_close_matches(str(kind), _RANGES, n=1, cutoff=0.8)
    if near and isinstance(arguments, list) and len(arguments) == 2 and all(map(_is_number, arguments)):
        raise SpecificationError(
            path, f"found {kind}, expected one of {', '.join(SPACE_KINDS)}; did you mean {near[0]}?"
        )
