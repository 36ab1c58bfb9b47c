"""Pickles always name the same functions of ours, and the names of older releases are read for good."""

import pickletools
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest
from river import tree

from service.domain.stream.events import Task
from service.errors import ForbiddenClassError, OtherReleaseError
from service.learning import catalogue, pickled
from service.learning.batch import catalogue as batch_catalogue
from service.learning.estimators import build as estimators
from service.learning.pickling import codec

ROWS = [({"a": float(i % 7), "b": float(i % 3)}, i % 2 == 0) for i in range(60)]
WRITTEN = {"array", "scalar", "random_state", "generator", "grown", "estimator"}
"""The names that artifacts hold: one may be added, none removed or changed."""
BEFORE = {
    "service.learning.arrays": {"array", "scalar", "random_state", "generator"},
    "service.learning.search_trees": {"grown"},
    "service.learning.scikit": {"ScikitClassifier", "ScikitRegressor"},
    "service.learning.batch_estimators": {"BatchClassifier", "BatchRegressor"},
}
"""The names in artifacts of releases before `service.learning.pickled`, whatever has become of these modules."""


def names(data: bytes) -> set[tuple[str, str]]:
    """Return every (module, name) of this package that a pickle holds."""
    found: set[tuple[str, str]] = set()
    texts: list[str] = []
    memo: list[Any] = []
    for code, argument, _ in pickletools.genops(data):
        if code.name == "MEMOIZE":
            memo.append(texts[-1] if texts else "")
        elif isinstance(argument, str):
            texts.append(argument)
        elif code.name in {"BINGET", "LONG_BINGET"} and isinstance(argument, int):
            texts.append(memo[argument])
        elif code.name == "STACK_GLOBAL" and texts[-2].startswith("service"):
            found.add((texts[-2], texts[-1]))
    return found


def taught(name: str) -> Any:
    """Return an estimator of that name that has learned, or was fitted on, a few rows."""
    batch = name in batch_catalogue.BATCH_NAMES
    regressor = batch_catalogue.is_regressor(name) if batch else "Regressor" in name
    task = Task.REGRESSION if regressor else Task.BINARY
    made = estimators.estimator_from_expression(name, task=task, seed=1)
    truths = [float(y) if regressor else y for _, y in ROWS]
    if batch:
        return made.fit(pl.DataFrame([x for x, _ in ROWS]), truths)
    for (x, _), y in zip(ROWS, truths, strict=True):
        made.learn_one(x, y)
    return made


def regression_tree() -> Any:
    """Return a tree of river whose leaves hold search trees."""
    made = tree.HoeffdingTreeRegressor()
    for x, y in ROWS:
        made.learn_one(x, float(y))
    return made


VALUES: Mapping[str, Any] = {
    "array": np.arange(3.0),
    "objects": np.array(["a", None], dtype=object),
    "scalar": np.float64(1.5),
    "time": np.datetime64("2026-01-01"),
    "random_state": np.random.RandomState(1),
    "generator": np.random.default_rng(1),
    "chance": random.Random(1),
}


@pytest.mark.parametrize(
    "name", [*(f"sklearn.{one}" for one in catalogue.SKLEARN_CLASSES), *batch_catalogue.BATCH_NAMES]
)
def test_every_family_names_the_one_module(name: str) -> None:
    """Of this package a pickled estimator names only `service.learning.pickled`, and it comes back as it was."""
    made = taught(name)
    data = codec.dumps(made)
    assert {module for module, _ in names(data)} == {"service.learning.pickled"}
    again = codec.loads(data)
    assert type(again) is type(made)
    assert [again.predict_one(x) for x, _ in ROWS] == [made.predict_one(x) for x, _ in ROWS]


@pytest.mark.parametrize("name", VALUES)
def test_every_value_names_the_one_module(name: str) -> None:
    """NumPy's values name only `service.learning.pickled`."""
    data = codec.dumps(VALUES[name])
    assert {module for module, _ in names(data)} <= {"service.learning.pickled"}
    codec.loads(data)


def test_search_trees_name_the_one_module() -> None:
    """River's search trees name only `service.learning.pickled`."""
    made = regression_tree()
    data = codec.dumps(made)
    assert names(data) == {("service.learning.pickled", "grown")}
    assert [codec.loads(data).predict_one(x) for x, _ in ROWS] == [made.predict_one(x) for x, _ in ROWS]


def test_no_name_has_gone() -> None:
    """Every name that was ever written is still read, by its exact text."""
    assert set(pickled.FUNCTIONS) >= {("service.learning.pickled", name) for name in WRITTEN}
    assert set(pickled.OLD_NAMES) == {(module, name) for module, some in BEFORE.items() for name in some}
    for module, name in [*pickled.FUNCTIONS, *pickled.OLD_NAMES]:
        assert callable(codec.loads(f"c{module}\n{name}\n.".encode()))


def test_a_kind_that_is_not_listed() -> None:
    """A pickle cannot have `estimator` make any class that is not listed."""
    with pytest.raises(OtherReleaseError, match="registry verify"):
        codec.loads(b"cservice.learning.pickled\nestimator\n(S'Learner'\ntR.")


@pytest.mark.parametrize("name", ["reduced", "class_of", "importlib", "arrays", "later"])
def test_the_rest_of_the_module_is_forbidden(name: str) -> None:
    """Other names of the module, or those a later release adds, are refused as another release's."""
    with pytest.raises(ForbiddenClassError) as caught:
        codec.loads(f"cservice.learning.pickled\n{name}\n.".encode())
    assert isinstance(caught.value, OtherReleaseError)
