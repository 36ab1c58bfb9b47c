"""Writes river's binary search trees as lists, because rising values make them deeper than a pickle can follow.

The default splitter of a regression tree keeps one node for each value, so a few hundred rising time stamps become a
chain of as many nodes, and pickling it node by node ends in a RecursionError.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

from river.tree.splitter.ebst_splitter import EBSTNode
from river.tree.splitter.exhaustive_splitter import ExhaustiveNode

from service.errors import ArtifactError
from service.learning.river_internals import SEARCH_CHILDREN, search_children

TREE_NODE_TYPES = (EBSTNode, ExhaustiveNode)

TreeRow: TypeAlias = tuple[Sequence[Any], int | None, int | None]


def flatten_tree(root: Any) -> tuple[str, list[TreeRow]]:
    """Return the arguments of `rebuild_tree`: the kind of node, and each node's values and children.

    A child is the index of its row, or None.
    """
    nodes = [root]
    rows: list[TreeRow] = []
    for node in nodes:
        left, right = (_child_index(child, nodes) for child in search_children(node))
        rows.append(([getattr(node, name) for name in _value_slots(type(node))], left, right))
    return type(root).__name__, rows


def rebuild_tree(name: str, rows: Sequence[TreeRow]) -> Any:
    """Return the tree that `flatten_tree` flattened; raise ArtifactError for an unknown kind of node."""
    kind = next((one for one in TREE_NODE_TYPES if one.__name__ == name), None)
    if kind is None:
        msg = (
            f"found a search tree of {name!r:.80}, expected one of {', '.join(one.__name__ for one in TREE_NODE_TYPES)}"
        )
        raise ArtifactError(msg)
    nodes = [kind.__new__(kind) for _ in rows]
    for node, (values, *children) in zip(nodes, rows, strict=True):
        for slot, value in zip(_value_slots(kind), values, strict=True):
            setattr(node, slot, value)
        for slot, index in zip(SEARCH_CHILDREN, children, strict=True):
            setattr(node, slot, None if index is None else nodes[index])
    return nodes[0]


def _child_index(child: Any, found: list[Any]) -> int | None:
    if child is None:
        return None
    found.append(child)
    return len(found) - 1


def _value_slots(kind: type) -> list[str]:
    slots: Sequence[str] = vars(kind)["__slots__"]
    return [name for name in slots if name not in SEARCH_CHILDREN]
