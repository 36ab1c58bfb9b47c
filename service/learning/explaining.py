"""What each feature has contributed to a prediction: of linear models, of trees, and of forests of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from river import base, compose, tree

from service.domain.events import Features, Label
from service.errors import RefusedError

MOST_TOLD = 10


class Contribution(msgspec.Struct, frozen=True):
    """Of one feature; the sign is its direction."""

    feature: str
    contribution: float


class Explanation(msgspec.Struct, frozen=True):
    """`base` and all contributions add up to `total`: a linear model's sum, or the share or mean in a tree's leaf."""

    base: float
    total: float
    contributions: Sequence[Contribution]


def explained(estimator: Any, x: Features, label: Label | None) -> Explanation:
    """The largest contributions first; RefusedError for an estimator of another kind."""
    final, features = _transformed(estimator, x)
    if isinstance(getattr(final, "weights", None), Mapping) and hasattr(final, "intercept"):
        parts = {name: final.weights.get(name, 0.0) * value for name, value in features.items()}
        return _explanation(final.intercept, parts)
    trees = _trees(final)
    if not trees:
        msg = f"found a {type(final).__name__}, expected a linear model, a tree or a forest: no other is explained"
        raise RefusedError(msg)
    bases, sums = 0.0, dict[str, float]()
    for one in trees:
        start, steps = _path(one._root, features, label)
        bases += start
        for name, step in steps:
            sums[name] = sums.get(name, 0.0) + step
    return _explanation(bases / len(trees), {name: part / len(trees) for name, part in sums.items()})


def _explanation(start: float, parts: Mapping[str, float]) -> Explanation:
    ranked = sorted(parts.items(), key=lambda one: -abs(one[1]))
    total = float(start) + float(sum(parts.values()))
    told = [Contribution(str(name), float(part)) for name, part in ranked[:MOST_TOLD] if part]
    return Explanation(float(start), total, told)


def _transformed(estimator: Any, x: Features) -> tuple[Any, dict[Any, Any]]:
    """The last step, and the features as it sees them."""
    if not isinstance(estimator, compose.Pipeline):
        return estimator, x
    *heads, final = estimator.steps.values()
    features: dict[Any, Any] = x
    for head in heads:
        features = head.transform_one(features)
    return final, features


def _trees(model: Any) -> list[Any]:
    if isinstance(model, base.Ensemble):
        return [one for one in model if hasattr(one, "_root") and one._root is not None]
    grown = isinstance(model, tree.HoeffdingTreeClassifier | tree.HoeffdingTreeRegressor) and model._root is not None
    return [model] if grown else []


def _path(root: Any, x: Mapping[Any, Any], label: Label | None) -> tuple[float, Sequence[tuple[str, float]]]:
    """The root's value, and what each split on the way to the leaf has changed of it."""
    nodes = list(_walk(root, x))
    values = [_value(node, label) for node in nodes]
    steps = [
        (str(node.feature), after - before) for node, before, after in zip(nodes, values, values[1:], strict=False)
    ]
    return values[0], steps


def _walk(node: Any, x: Mapping[Any, Any]) -> Iterator[Any]:
    """A branch whose feature is missing is left by the path that most have taken, as the tree itself does."""
    yield node
    while hasattr(node, "children"):
        try:
            node = node.next(x)
        except KeyError:
            node = node.most_common_path()[1]
        yield node


def _value(node: Any, label: Label | None) -> float:
    stats = node.stats
    if isinstance(stats, Mapping):
        total = sum(stats.values())
        return float(stats.get(label, 0.0) / total) if total else 0.0
    return float(stats.mean.get())
