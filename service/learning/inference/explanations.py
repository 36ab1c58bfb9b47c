"""Contributions of features to a prediction: linear models, trees, forests and gradient-boosted trees."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from river import base, compose, tree

from service.domain.stream.events import Features, Label
from service.errors import RefusedError
from service.learning.batch.estimators import BatchClassifier, BatchRegressor
from service.learning.inference.predictor import label_name
from service.learning.river_internals import root_of

MAX_CONTRIBUTIONS = 10
_OptionalLabel: TypeAlias = str | msgspec.UnsetType


class Contribution(msgspec.Struct, frozen=True):
    """The contribution of one feature; its sign is its direction."""

    feature: str
    contribution: float


class Explanation(msgspec.Struct, frozen=True):
    """`base` plus all contributions is `total`: a score before its link, or the share or mean in a tree's leaf.

    `label` is the label that the score or share belongs to.
    """

    base: float
    total: float
    contributions: Sequence[Contribution]
    label: _OptionalLabel = msgspec.UNSET


def explain(estimator: Any, x: Features, label: Label | None) -> Explanation:
    """Return the explanation, largest contributions first; raise RefusedError for an unsupported estimator."""
    final, features = _transformed(estimator, x)
    if hasattr(final, "contributions"):
        found = _explain_by_itself(final, features, label)
    elif isinstance(getattr(final, "weights", None), Mapping) and hasattr(final, "intercept"):
        found = _explain_linear(final, features)
    else:
        found = _explain_trees(_trees(final), features, label)
    if found is None:
        msg = f"found {_estimator_name(final)}, expected a linear model, a tree or a forest: no other is explained"
        raise RefusedError(msg)
    return found


def _estimator_name(final: Any) -> str:
    if isinstance(final, BatchClassifier | BatchRegressor):
        return f"{final.name}{'' if final.is_fitted else ', which no training job has fitted yet'}"
    if hasattr(final, "contributions"):
        new = "" if hasattr(final.estimator, "n_features_in_") else " that has learned nothing yet"
        return f"a {type(final.estimator).__name__}{new}"
    return f"a {type(final).__name__}"


def _explanation(start: float, parts: Mapping[str, float], label: _OptionalLabel) -> Explanation:
    ranked = sorted(parts.items(), key=lambda one: -abs(one[1]))
    total = float(start) + float(sum(parts.values()))
    contributions = [Contribution(str(name), float(part)) for name, part in ranked[:MAX_CONTRIBUTIONS] if part]
    return Explanation(float(start), total, contributions, label)


def _transformed(estimator: Any, x: Features) -> tuple[Any, dict[Any, Any]]:
    """Return the last step, and the features as it sees them."""
    if not isinstance(estimator, compose.Pipeline):
        return estimator, x
    *heads, final = estimator.steps.values()
    features: dict[Any, Any] = x
    for head in heads:
        features = head.transform_one(features)
    return final, features


def _explain_by_itself(final: Any, x: Features, label: Label | None) -> Explanation | None:
    """Return the explanation of a wrapper that has `contributions`."""
    found = final.contributions(x, label)
    if found is None:
        return None
    start, parts, about = found
    return _explanation(start, parts, msgspec.UNSET if about is None else label_name(about))


def _explain_linear(final: Any, x: Mapping[Any, Any]) -> Explanation:
    parts = {name: final.weights.get(name, 0.0) * value for name, value in x.items()}
    return _explanation(final.intercept, parts, "true" if isinstance(final, base.Classifier) else msgspec.UNSET)


def _explain_trees(trees: Sequence[Any], x: Mapping[Any, Any], label: Label | None) -> Explanation | None:
    if not trees:
        return None
    bases, sums = 0.0, dict[str, float]()
    for one in trees:
        start, steps = _path_changes(root_of(one), x, label)
        bases += start
        for name, step in steps:
            sums[name] = sums.get(name, 0.0) + step
    label_text = label_name(label) if isinstance(trees[0], base.Classifier) else msgspec.UNSET
    return _explanation(bases / len(trees), {name: part / len(trees) for name, part in sums.items()}, label_text)


def _trees(model: Any) -> list[Any]:
    if isinstance(model, base.Ensemble):
        return [one for one in model if root_of(one) is not None]
    grown = isinstance(model, tree.HoeffdingTreeClassifier | tree.HoeffdingTreeRegressor) and root_of(model) is not None
    return [model] if grown else []


def _path_changes(root: Any, x: Mapping[Any, Any], label: Label | None) -> tuple[float, Sequence[tuple[str, float]]]:
    """Return the root's value, and each split's change of it on the path to the leaf."""
    nodes = list(_path_nodes(root, x))
    values = [_node_value(node, label) for node in nodes]
    steps = [
        (str(node.feature), after - before) for node, before, after in zip(nodes, values, values[1:], strict=False)
    ]
    return values[0], steps


def _path_nodes(node: Any, x: Mapping[Any, Any]) -> Iterator[Any]:
    """Yield the path to the leaf; where a split's feature is missing, follow the most common branch, as river does."""
    yield node
    while hasattr(node, "children"):
        try:
            node = node.next(x)
        except KeyError:
            node = node.most_common_path()[1]
        yield node


def _node_value(node: Any, label: Label | None) -> float:
    stats = node.stats
    if isinstance(stats, Mapping):
        total = sum(stats.values())
        return float(stats.get(label, 0.0) / total) if total else 0.0
    return float(stats.mean.get())
