"""The score journal gives back what it was given, in few bytes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.domain.stream.events import Task, TopicPartition
from service.learning.metrics.journal import (
    ColumnFormat,
    PackedRun,
    ScoreJournal,
    decode_arrays,
    decode_segment,
    encode_segment,
)

AT, OTHER = TopicPartition("events", 0), TopicPartition("events", 1)


def offsets(count: int) -> st.SearchStrategy[list[int]]:
    """Return ascending offsets with gaps."""
    return st.lists(st.integers(1, 5), min_size=count, max_size=count).map(lambda gaps: np.cumsum(gaps).tolist())


@given(st.data(), st.integers(1, 60))
def test_binary_columns_come_back(data: st.DataObject, count: int) -> None:
    """Offsets, labels and probabilities come back exactly, with None where nothing was predicted."""
    where = data.draw(offsets(count))
    truths = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    labels = data.draw(st.lists(st.none() | st.booleans(), min_size=count, max_size=count))
    chances = data.draw(st.lists(st.floats(0, 1), min_size=count, max_size=count))
    journal = ScoreJournal(Task.BINARY)
    journal.append(AT, where, truths=truths, labels=labels, probabilities=chances)
    assert journal.count == count
    (run,) = decode_segment(encode_segment(journal.take()))
    assert (run.at, list(run.offsets), list(run.truths), list(run.labels)) == (AT, where, truths, labels)
    assert run.probabilities == chances


@given(st.lists(st.floats(-1e9, 1e9), min_size=8, max_size=8), st.lists(st.floats(-1e9, 1e9), min_size=8, max_size=8))
def test_regression_values_come_back_exactly(truths: list[float], values: list[float]) -> None:
    """Truths and predictions of a regression keep all 64 bits, for any count of events."""
    journal = ScoreJournal(Task.REGRESSION)
    journal.append(AT, range(8), truths=truths, labels=values, probabilities=None)
    (run,) = decode_segment(encode_segment(journal.take()))
    assert (list(run.truths), list(run.labels), run.probabilities) == (truths, values, None)


def test_labels_of_many_classes_come_back() -> None:
    """Strings and integers keep their values and types."""
    journal = ScoreJournal(Task.MULTICLASS)
    journal.append(AT, [3, 4], truths=["cat", 2], labels=["dog", None], probabilities=[{"dog": 1.0}, {}])
    (run,) = decode_segment(encode_segment(journal.take()))
    assert (list(run.truths), list(run.labels), run.probabilities) == (["cat", 2], ["dog", None], None)


def test_a_run_for_each_stretch_of_one_partition() -> None:
    """Batches of one partition in a row are one run; taking empties the journal."""
    journal = ScoreJournal(Task.BINARY)
    for at, where in ((AT, [0]), (AT, [1]), (OTHER, [0]), (AT, [2])):
        journal.append(at, where, truths=[True], labels=[True], probabilities=None)
    runs = decode_segment(encode_segment(journal.take()))
    assert [(run.at, list(run.offsets)) for run in runs] == [(AT, [0, 1]), (OTHER, [0]), (AT, [2])]
    assert journal.count == 0
    assert decode_segment(encode_segment(journal.take())) == []


def test_segments_are_compact() -> None:
    """An event of a binary task takes less than ten bytes."""
    chance = np.random.default_rng(1)
    journal = ScoreJournal(Task.BINARY)
    truths = chance.random(10_000) > 0.5
    journal.append(
        AT, range(10_000), truths=truths.tolist(), labels=truths.tolist(), probabilities=chance.random(10_000).tolist()
    )
    assert len(encode_segment(journal.take())) < 10 * 10_000


def test_an_emptied_segment_holds_nothing() -> None:
    """A segment that retention has emptied reads as no runs."""
    assert decode_segment(b"") == []


def test_segments_of_the_first_release_are_read() -> None:
    """Probabilities that were kept as 32-bit floats are read as such."""
    chances = np.asarray([0.1, 0.9], dtype=np.float32)
    bits = (ColumnFormat.BITS, np.packbits([False, True]).tobytes())
    part = PackedRun(
        "events",
        0,
        2,
        np.asarray([4, 1], dtype=np.int64).tobytes(),
        bits,
        bits,
        (ColumnFormat.FLOAT32, chances.tobytes()),
    )
    (run,) = decode_segment(encode_segment([part]))
    assert (list(run.offsets), list(run.labels), run.probabilities) == ([4, 5], [False, True], chances.tolist())


def test_arrays_say_what_values_say() -> None:
    """The two ways of reading a segment give the same columns."""
    journal = ScoreJournal(Task.BINARY)
    journal.append(AT, [3, 7, 8], truths=[True, False, True], labels=[True, True, None], probabilities=[0.75, 0.5, 0.0])
    segment = encode_segment(journal.take())
    (one,), (other,) = decode_arrays(segment), decode_segment(segment)
    assert one.truths.dtype == bool
    assert [one.offsets.tolist(), one.truths.tolist(), one.labels, one.probabilities.tolist()] == [
        other.offsets,
        other.truths,
        other.labels,
        other.probabilities,
    ]
