"""River's binary search trees as lists: rising values make them deeper than a pickle can follow.

The default splitter of a regression tree keeps one node a value, so that a few hundred rising time
stamps are a chain of as many nodes, and pickling it node in node ends in a RecursionError.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

from river.tree.splitter.ebst_splitter import EBSTNode
from river.tree.splitter.exhaustive_splitter import ExhaustiveNode

from service.errors import ArtifactError
from service.learning.river_internals import SEARCH_CHILDREN, search_children

NODES = (EBSTNode, ExhaustiveNode)

Row: TypeAlias = tuple[Sequence[Any], int | None, int | None]


def flattened(root: Any) -> tuple[str, list[Row]]:
    """Return the arguments of `grown`: the kind of node, and every node's values and the places of its children."""
    nodes = [root]
    rows: list[Row] = []
    for node in nodes:
        left, right = (_placed(child, nodes) for child in search_children(node))
        rows.append(([getattr(node, name) for name in _values(type(node))], left, right))
    return type(root).__name__, rows


def grown(name: str, rows: Sequence[Row]) -> Any:
    """The tree that was flattened."""
    kind = next((one for one in NODES if one.__name__ == name), None)
    if kind is None:
        msg = f"found a search tree of {name!r:.80}, expected one of {', '.join(one.__name__ for one in NODES)}"
        raise ArtifactError(msg)
    nodes = [kind.__new__(kind) for _ in rows]
    for node, (values, *places) in zip(nodes, rows, strict=True):
        for slot, value in zip(_values(kind), values, strict=True):
            setattr(node, slot, value)
        for slot, place in zip(SEARCH_CHILDREN, places, strict=True):
            setattr(node, slot, None if place is None else nodes[place])
    return nodes[0]


def _placed(child: Any, nodes: list[Any]) -> int | None:
    if child is None:
        return None
    nodes.append(child)
    return len(nodes) - 1


def _values(kind: type) -> list[str]:
    slots: Sequence[str] = vars(kind)["__slots__"]
    return [name for name in slots if name not in SEARCH_CHILDREN]
