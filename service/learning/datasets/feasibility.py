"""Checks that training data can be split as requested, before training begins."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from service.domain.specification.split import CvSpec, SplitSpec
from service.domain.stream.events import Task
from service.errors import TrainingDataError
from service.learning.datasets.dataset import Indices, TrainingData

_PARTS = ("train", "validation", "test")


def require_classes(data: TrainingData, *, where: str, rows: Indices | None = None) -> None:
    """Raise TrainingDataError if the data, or the given rows of them, have only one class."""
    if data.task is Task.REGRESSION or not len(data):
        return
    labels = data.table.get_column("y")
    found = (labels if rows is None else labels[rows]).unique()
    if len(found) < 2:
        msg = f"found only the class {found[0]!s:.80} in {where}, expected two or more; choose a longer `window`"
        raise TrainingDataError(msg)


def require_nonempty_parts(spec: SplitSpec, counts: Sequence[int], *, embargoed: int, crossing: int) -> None:
    """Raise TrainingDataError if a requested part has no event."""
    empty = _empty_parts(spec, counts)
    if empty:
        msg = (
            f"found no event for {empty} among {sum(counts) + embargoed + crossing}, of which {embargoed} fell to the "
            f"embargo and {crossing} have groups of an earlier part; choose a longer `window`, a smaller embargo, or "
            "for groups that go on for long `split: {kind: random}`"
        )
        raise TrainingDataError(msg)


def require_groups(count: int, counts: Sequence[int], spec: SplitSpec) -> None:
    """Raise TrainingDataError if there are too few groups for every part."""
    empty = _empty_parts(spec, counts)
    if empty:
        msg = (
            f"found {count} groups, too few for {empty}, as a group is never divided; choose a longer `window`, or "
            "other shares in `split`"
        )
        raise TrainingDataError(msg)


def require_class_members(labels: npt.NDArray[Any], counts: Sequence[int]) -> None:
    """Raise TrainingDataError if a class cannot be in every part."""
    parts = [count for count in counts if count]
    classes, members = np.unique(labels, return_counts=True)
    rarest = f"{members.min()} events of the class {classes[members.argmin()]!s:.80}"
    if members.min() < len(parts) or members.min() < 2:
        msg = f"found {rarest}, expected {max(len(parts), 2)} or more, one for each part"
    elif min(parts) < len(classes):
        msg = f"found a part of {min(parts)} events for {len(classes)} classes, expected one or more of each"
    else:
        return
    msg += "; choose a longer `window`, or `split: {kind: time}`"
    raise TrainingDataError(msg)


def require_feasible_folds(data: TrainingData, spec: CvSpec) -> None:
    """Raise TrainingDataError if scikit-learn would fail, a fold would be empty, or groups would cross folds."""
    groups = data.groups
    _require_groups_of(spec, None if groups is None else int(groups.max()) + 1 if len(groups) else 0)
    if len(data) < _min_events(len(data), spec):
        gap = f" and a gap of {spec.gap}" if spec.gap else ""
        msg = f"found {len(data)} events for {spec.folds} folds{gap}, expected more; take fewer or a longer window"
        raise TrainingDataError(msg)
    if spec.kind.startswith("stratified"):
        _require_strata(data, spec)


def _min_events(count: int, spec: CvSpec) -> int:
    """Return how many events the folds need; in a time series the first fold must have training rows left."""
    if spec.kind != "time_series":
        return spec.folds
    return max(spec.folds + 1, spec.gap + spec.folds * (count // (spec.folds + 1)) + 1)


def _require_groups_of(spec: CvSpec, count: int | None) -> None:
    if spec.kind.endswith("group_kfold"):
        if count is None:
            msg = (
                f"found no event with a group, expected some for `cv: {{kind: {spec.kind}}}`; say where groups stand "
                "with `fields: {group: ...}`, or choose another kind"
            )
            raise TrainingDataError(msg)
        if count < spec.folds:
            msg = f"found {count} groups for {spec.folds} folds, expected as many or more; choose fewer folds"
            raise TrainingDataError(msg)
    elif count is not None and spec.kind != "time_series":
        better = "stratified_group_kfold" if spec.kind == "stratified_kfold" else "group_kfold"
        msg = (
            f"found events with groups and `cv: {{kind: {spec.kind}}}`, which would have groups in several folds, "
            f"expected {better} or time_series"
        )
        raise TrainingDataError(msg)


def _require_strata(data: TrainingData, spec: CvSpec) -> None:
    if data.task is Task.REGRESSION:
        msg = f"found kind {spec.kind} for a regression, expected a kind without classes"
        raise TrainingDataError(msg)
    require_classes(data, where="the train part")
    classes, members = np.unique(data.labels, return_counts=True)
    if members.min() < spec.folds:
        rarest = f"{members.min()} events of the class {classes[members.argmin()]!s:.80}"
        msg = (
            f"found {rarest} for {spec.folds} folds, expected as many or more; choose fewer folds or a longer `window`"
        )
        raise TrainingDataError(msg)


def _empty_parts(spec: SplitSpec, counts: Sequence[int]) -> str:
    """Return the names of requested parts that are empty, in words."""
    shares = (spec.train, spec.validation, spec.test)
    names = [name for name, share, count in zip(_PARTS, shares, counts, strict=True) if share and not count]
    return f"the {' and the '.join(names)} part" if names else ""
