"""Cross-validation folds as scikit-learn makes them; a group is never on both sides of one."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sklearn import model_selection

from service.domain.specification.split import CvKind, CvSpec
from service.errors import TrainingDataError
from service.learning.datasets.dataset import Indices, TrainingData
from service.learning.datasets.feasibility import require_classes, require_feasible_folds
from service.learning.datasets.splits import without_shared_groups


class CvFold(NamedTuple):
    """Training rows and test rows."""

    train: Indices
    test: Indices


_SPLITTERS: Mapping[CvKind, Callable[..., Any]] = {
    "kfold": model_selection.KFold,
    "stratified_kfold": model_selection.StratifiedKFold,
    "group_kfold": model_selection.GroupKFold,
    "stratified_group_kfold": model_selection.StratifiedGroupKFold,
}


def make_folds(data: TrainingData, spec: CvSpec, *, seed: int) -> list[CvFold]:
    """Return the folds, or raise TrainingDataError; `seed` shuffles if the specification has no seed of its own.

    In a time series, test rows whose group is in the fold's training rows are left out.
    """
    require_feasible_folds(data, spec)
    labels, groups = data.labels, data.groups
    found = [CvFold(train, test) for train, test in _splitter(spec, seed).split(labels, labels, groups)]
    if spec.kind == "time_series":
        found = [CvFold(train, without_shared_groups(test, train, groups)) for train, test in found]
    for number, fold in enumerate(found, start=1):
        if not len(fold.train) or not len(fold.test):
            msg = (
                f"found no event for one side of fold {number}: all its groups are in earlier folds; choose fewer "
                "folds, or group_kfold"
            )
            raise TrainingDataError(msg)
        require_classes(data, where=f"what fold {number} learns", rows=fold.train)
    return found


def _splitter(spec: CvSpec, seed: int) -> Any:
    if spec.kind == "time_series":
        return model_selection.TimeSeriesSplit(n_splits=spec.folds, gap=spec.gap)
    given = seed if spec.seed is None else spec.seed
    return _SPLITTERS[spec.kind](spec.folds, shuffle=spec.shuffle, random_state=given if spec.shuffle else None)
