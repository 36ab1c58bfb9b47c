"""Losses equal the textbook's, and only events that both have predicted are compared."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.specification.promotion import Loss
from service.domain.stream.events import Task, TopicPartition
from service.learning.evaluation.losses import RunLosses, pair_losses, run_losses
from service.learning.metrics.journal import RunArrays, ScoreJournal, decode_arrays, encode_segment

AT, OTHER = TopicPartition("events", 0), TopicPartition("events", 1)


def kept(task: Task, truths: list[Any], labels: list[Any], chances: list[float] | None = None) -> RunArrays:
    """Return a run as the score journal returns it."""
    journal = ScoreJournal(task)
    journal.append(AT, range(len(truths)), truths=truths, labels=labels, probabilities=chances)
    (run,) = decode_arrays(encode_segment(journal.take()))
    return run


@given(st.lists(st.tuples(st.booleans(), st.none() | st.booleans(), st.floats(0, 1)), min_size=1, max_size=30))
def test_of_two_classes(rows: list[tuple[bool, bool | None, float]]) -> None:
    """Zero-one, Brier and log loss follow from label and P(True); unpredicted events have none."""
    run = kept(Task.BINARY, *(list(column) for column in zip(*rows, strict=True)))
    for loss in (Loss.ZERO_ONE, Loss.BRIER, Loss.LOG):
        for (truth, label, chance), value in zip(rows, run_losses(run, loss).values.tolist(), strict=True):
            right = chance if truth else 1 - chance
            expected = {
                Loss.ZERO_ONE: float(truth != label),
                Loss.BRIER: (1 - right) ** 2,
                Loss.LOG: -math.log(right) if right else math.inf,
            }
            assert math.isnan(value) if label is None else value == pytest.approx(expected[loss])


def test_without_probabilities_labels_are_sure() -> None:
    """Without probabilities, the Brier loss is zero or one."""
    run = kept(Task.BINARY, [True, True, False], [True, False, None])
    assert run_losses(run, Loss.BRIER).values.tolist()[:2] == [0.0, 1.0]
    assert math.isnan(run_losses(run, Loss.BRIER).values[2])


def test_of_many_classes() -> None:
    """Labels of any type are right or wrong."""
    run = kept(Task.MULTICLASS, ["cat", 2, "dog"], ["cat", 3, None])
    assert np.array_equal(run_losses(run, Loss.ZERO_ONE).values, [0.0, 1.0, np.nan], equal_nan=True)


def test_of_a_regression() -> None:
    """A regression has absolute and squared losses."""
    run = kept(Task.REGRESSION, [1.0, 2.0, 3.0], [1.5, 0.0, None])
    assert np.array_equal(run_losses(run, Loss.ABSOLUTE).values, [0.5, 2.0, np.nan], equal_nan=True)
    assert np.array_equal(run_losses(run, Loss.SQUARED).values, [0.25, 4.0, np.nan], equal_nan=True)


def runs() -> st.SearchStrategy[list[RunLosses]]:
    """Return runs of two partitions with unordered offsets, some repeated and some unpredicted."""
    values = st.one_of(st.just(math.nan), st.integers(0, 9).map(float))
    one = st.tuples(st.sampled_from([AT, OTHER]), st.lists(st.tuples(st.integers(0, 15), values), max_size=12))
    return st.lists(one, max_size=6).map(
        lambda found: [
            RunLosses(
                at, np.asarray([o for o, _ in rows], dtype=np.int64), np.asarray([v for _, v in rows], dtype=float)
            )
            for at, rows in found
        ]
    )


@given(runs(), runs(), st.integers(0, 8))
def test_pairs_are_what_both_predicted(champion: list[RunLosses], challenger: list[RunLosses], since: int) -> None:
    """The pairs equal a plain join by position, in the champion's order, with the first score of each position."""

    def rows(found: list[RunLosses]) -> dict[tuple[TopicPartition, int], float]:
        every: dict[tuple[TopicPartition, int], float] = {}
        for run in found:
            for offset, value in zip(run.offsets.tolist(), run.values.tolist(), strict=True):
                every.setdefault((run.at, offset), value)
        return every

    ours, theirs = rows(champion), rows(challenger)
    expected = [
        (value, theirs[place])
        for place, value in ours.items()
        if place in theirs and not math.isnan(value + theirs[place]) and (place[0] == OTHER or place[1] >= since)
    ]
    found = pair_losses(champion, challenger, since={AT: since})
    assert list(zip(found.champion.tolist(), found.challenger.tolist(), strict=True)) == expected
    assert len(found) == len(expected)
