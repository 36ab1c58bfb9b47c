"""Training data as events, as a frame and by rows, and the guard over columns."""

import pickle
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.specification.model import GuardSpec
from service.domain.stream.events import Event, Task
from service.learning.datasets.dataset import TrainingData, table_events
from service.learning.datasets.guarded import admitted_rows
from service.learning.guard.guard import FeatureGuard
from tests.labelled_history import history


def columns(table: pl.DataFrame, **given: Any) -> pl.DataFrame:
    """Return a table with these columns, where `_` in a name stands for a dot."""
    return table.with_columns(pl.Series(name.replace("_", ".", 1), values) for name, values in given.items())


def test_events_are_what_the_stream_had() -> None:
    """Integers, given nulls, absent features, groups, weights and ids of both types come back as they were."""
    table = columns(
        history([True, False, True], groups=["g", None, 7]).table.drop("x.a"),
        x_a=[1.0, 2.5, None],
        i_a=[True, False, False],
        n_a=[False, False, True],
        x_b=["s", None, None],
        x_c=[4, 5, 6],
    ).with_columns(pl.Series("id_text", [None, None, "z"]), pl.Series("id_number", [1, 2, None]))
    table = table.with_columns(pl.Series("weight", [1.0, 2.0, 1.0]))
    found = [*TrainingData(Task.BINARY, table).events()]
    assert found == [
        Event(0, 1, 0, {"a": 1, "b": "s", "c": 4}, True, "g"),
        Event(1, 2, 1000, {"a": 2.5, "c": 5}, False, None, 2.0),
        Event(2, "z", 2000, {"a": None, "c": 6}, True, 7),
    ]
    assert [type(event.x["a"]) for event in found] == [int, float, type(None)]


def test_a_frame_has_the_features_by_name() -> None:
    """A frame has the features by name, with labels and weights beside it."""
    data = history([True, False])
    assert data.frame().to_dict(as_series=False) == {"a": [0.0, 1.5]}
    assert (data.features, data.labels.tolist(), data.weights.tolist()) == (("a",), [True, False], [1.0, 1.0])


def test_rows_are_chosen_by_index() -> None:
    """Rows are returned in the given order, or as a slice."""
    data = history([True, False, True, False])
    assert data.take(np.array([2, 0])).times.tolist() == [2000, 0]
    assert data.between(1, 3).times.tolist() == [1000, 2000]
    assert (len(data), len(data.between(3, 1))) == (4, 0)


def test_groups_are_numbered_as_they_come() -> None:
    """Texts and numbers are different groups, and an event without a group is a group of its own."""
    data = history([True] * 7, groups=["b", None, 3, "b", None, "3", 3])
    assert data.groups is not None
    assert data.groups.tolist() == [0, 1, 2, 0, 3, 4, 2]
    assert history([True] * 3).groups is None


def test_it_can_be_sent_to_another_process() -> None:
    """Training data can be pickled, for trials in parallel."""
    data = history(["a", "b"], task=Task.MULTICLASS)
    assert [*pickle.loads(pickle.dumps(data)).events()] == [*data.events()]


numbers = st.floats(-10, 10) | st.sampled_from([1e5, -1e6, 1e9, 1e13, 0.0])


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    """Return mostly steady numbers, strings and booleans with gaps, and some outliers."""
    count = draw(st.integers(1, 400))
    seed = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    table = history([True] * count).table.drop("x.a", "y")
    values = {
        "a": seed.normal(size=count).tolist(),
        "b": seed.integers(0, 5, count).tolist(),
        "c": seed.choice(["x", "y"], count).tolist(),
        "d": seed.choice([True, False], count).tolist(),
    }
    for name in draw(st.sets(st.sampled_from("abcd"))):
        values[name] = [
            None if hidden else value for value, hidden in zip(values[name], seed.random(count) < 0.3, strict=True)
        ]
    labels = seed.normal(size=count).tolist()
    for _ in range(draw(st.integers(0, 6))):
        row = draw(st.integers(0, count - 1))
        values["a"][row] = draw(numbers)
        values["c"][row] = draw(st.sampled_from(["x" * 2000, "z", None]))
        labels[row] = draw(numbers)
    if draw(st.booleans()):
        start = draw(st.integers(0, count - 1))
        values["a"][start:] = [1e7 + one for one in range(count - start)]
    return table.with_columns(
        pl.Series("y", labels), *(pl.Series(f"x.{name}", found) for name, found in values.items())
    )


@settings(max_examples=300, deadline=None)
@given(tables(), st.sampled_from([Task.REGRESSION, Task.MULTICLASS]), st.sampled_from([2, 3, 10_000]))
def test_the_guard_judges_columns_as_it_judges_events(table: pl.DataFrame, task: Task, most: int) -> None:
    """The guard refuses the same rows by columns as event by event."""
    spec = GuardSpec(max_features=most)
    events = table_events(table)
    guard = FeatureGuard(spec, task)
    refused = {one.event.offset for one in guard.admit(events).refused}
    expected = [event.offset not in refused for event in events]
    assert admitted_rows(table, spec, task).tolist() == expected


def test_a_long_table_is_judged_in_long_stretches() -> None:
    """One outlier among many rows is found, and nothing else is refused."""
    values = np.random.default_rng(1).normal(size=50_000)
    values[31_234] = 1e9
    found = admitted_rows(history([True] * 50_000, contents=values.tolist()).table, GuardSpec(), Task.BINARY)
    assert np.flatnonzero(~found).tolist() == [31_234]


@pytest.mark.parametrize("values", [[], [None, None]])
def test_nothing_is_refused_of_nothing(values: list[None]) -> None:
    """Nothing is refused in a table without rows or without values."""
    table = history([True] * len(values)).table.with_columns(pl.Series("x.a", values, pl.Float64))
    assert admitted_rows(table, GuardSpec(), Task.BINARY).all()
