"""Training data: windows, exclusions, labels and duplicates, over an archive in memory."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.registry.archive import backfill_topic
from service.domain.specification.model import ModelSpec
from service.domain.specification.split import WindowSpec
from service.domain.stream.events import TopicPartition
from service.domain.stream.exclusion import ExcludedRange, TimeRange
from service.domain.stream.position import OffsetRange, Position
from service.errors import BelowStartError, TrainingDataError
from service.learning.datasets.dataset import TrainingData
from service.operations.training_data.load import read_training_data
from service.operations.training_data.window import DAY_MS, WindowRequest
from tests.archived import NOW, InMemoryArchive

AT, OTHER, OF_LABELS = TopicPartition("events", 0), TopicPartition("events", 1), TopicPartition("labels", 0)


def model(**changes: Any) -> ModelSpec:
    """Return a binary model of the events topic."""
    return ModelSpec.model_validate({"name": "m", "task": "binary", "events": "events", "factory": "a:b", **changes})


def rows(ids: Sequence[Any], **others: Any) -> list[dict[str, Any]]:
    """Return events with these ids and a feature each, labelled by whether their index is even."""
    return [{"id": one, "x": {"a": number + 0.5}, "y": number % 2 == 0, **others} for number, one in enumerate(ids)]


def loaded(
    kept: InMemoryArchive,
    spec: ModelSpec,
    window: dict[str, Any],
    *,
    until: Position | None = None,
    hidden: Sequence[ExcludedRange] = (),
) -> TrainingData:
    """Return the training data of a window."""
    return read_training_data(kept.reader(spec), spec, WindowRequest(WindowSpec.model_validate(window), until, hidden))


def ids(data: TrainingData) -> list[Any]:
    """Return the events' ids in their order."""
    return [event.id for event in data.events()]


def test_a_window_holds_the_newest_events_before_its_end() -> None:
    """A window spans several files, and ends at the position."""
    kept, spec = InMemoryArchive(size=10), model()
    kept.write(spec, AT, rows(range(35)))
    assert ids(loaded(kept, spec, {"events": 12})) == [*range(23, 35)]
    found = loaded(kept, spec, {"events": 12}, until=Position({AT: 20}))
    assert ids(found) == [*range(8, 20)]
    assert found.end == Position({AT: 20})


def test_a_position_past_the_archive_ends_where_the_archive_ends() -> None:
    """A window ends at the archive's end where the archiver is behind the position, and `end` says so."""
    kept, spec = InMemoryArchive(), model()
    kept.write(spec, AT, rows(range(5)))
    assert loaded(kept, spec, {"events": 3}, until=Position({AT: 99})).end == Position({AT: 5})


def test_only_the_files_of_the_window_are_read() -> None:
    """At most one file more than the window's is read, to see that it has nothing as new."""
    kept, spec = InMemoryArchive(size=10), model()
    kept.write(spec, AT, rows(range(1000)))
    loaded(kept, spec, {"events": 25})
    assert kept.reads <= 4


def test_days_are_days_of_event_time() -> None:
    """A window of days goes back from the newest event by event time, not by the records' timestamps."""
    kept, spec = InMemoryArchive(size=4), model()
    given = [{**one, "ts": NOW - (20 - number) * DAY_MS // 2} for number, one in enumerate(rows(range(21)))]
    kept.write(spec, AT, given)
    assert ids(loaded(kept, spec, {"days": 3})) == [*range(14, 21)]
    assert ids(loaded(kept, spec, {"days": 365})) == [*range(21)]


stamps = st.lists(st.integers(0, 400), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(stamps, stamps, st.integers(1, 70), st.sampled_from([3, 10, 100]))
def test_partitions_are_read_back_together(one: list[int], other: list[int], count: int, size: int) -> None:
    """The window is the newest events of all partitions, as if they had been sorted together by event time."""
    kept, spec = InMemoryArchive(size=size), model()
    steady = sorted(one), sorted(other)
    for at, times, first in ((AT, steady[0], 0), (OTHER, steady[1], 1000)):
        kept.write(
            spec,
            at,
            [{**row, "ts": NOW + ts} for row, ts in zip(rows(range(first, first + len(times))), times, strict=True)],
        )
    everything = sorted(
        [
            *((ts, 0, number) for number, ts in enumerate(steady[0])),
            *((ts, 1, 1000 + number) for number, ts in enumerate(steady[1])),
        ]
    )
    expected = [number for _, _, number in everything[-count:]]
    assert ids(loaded(kept, spec, {"events": count, "duplicates": "id"})) == expected


def test_a_partition_that_the_position_lacks_is_not_read() -> None:
    """A partition that the champion has not read is not in the window."""
    kept, spec = InMemoryArchive(), model()
    kept.write(spec, AT, rows(range(5)))
    kept.write(spec, OTHER, rows(range(5, 9)))
    assert ids(loaded(kept, spec, {"events": 9}, until=Position({AT: 5}))) == [*range(5)]


def test_older_history_comes_before_the_topic() -> None:
    """History from `registry backfill` is part of the window, before the topic's own events."""
    kept, spec = InMemoryArchive(size=3), model()
    older = TopicPartition(backfill_topic("events"), 0)
    kept.write(spec, AT, rows(range(5)), first=1000)
    kept.write(spec, older, rows(range(100, 105)), timestamps=range(NOW - 50, NOW - 45))
    found = loaded(kept, spec, {"events": 8, "duplicates": "id"}, until=Position({AT: 1005}))
    assert ids(found) == [102, 103, 104, *range(5)]


def test_exclusions_are_obeyed_and_counted() -> None:
    """Events excluded by offset or record timestamp are left out, and the window goes back further instead."""
    kept, spec = InMemoryArchive(size=10), model()
    kept.write(spec, AT, rows(range(40)))
    hidden = [
        OffsetRange("events", 0, 30, 35),
        OffsetRange("events", 1, 0, 40),
        TimeRange(datetime.fromtimestamp((NOW + 36) / 1000, UTC), datetime.fromtimestamp((NOW + 38) / 1000, UTC)),
    ]
    found = loaded(kept, spec, {"events": 10}, hidden=hidden)
    assert ids(found) == [*range(23, 30), 35, 38, 39]
    assert (found.counts.read, found.counts.excluded, found.counts.kept) == (17, 7, 10)


def test_labels_that_are_excluded_are_not_joined() -> None:
    """A label in an excluded range is not joined, and its event counts as unlabelled."""
    kept, spec = InMemoryArchive(), model(labels="labels")
    kept.write(spec, AT, [{"id": n, "x": {"a": n + 0.5}} for n in range(6)])
    kept.write(spec, OF_LABELS, [{"id": n, "y": True} for n in range(6)])
    found = loaded(kept, spec, {"events": 6}, hidden=[OffsetRange("labels", 0, 2, 5)])
    assert (ids(found), found.counts.missing_labels) == ([0, 1, 5], 3)


def test_labels_are_joined_by_id_within_their_time() -> None:
    """An event's own label comes first; late, missing, repeated and contradicting labels are counted."""
    kept, spec = InMemoryArchive(size=4), model(labels="labels", label_ttl="10s")
    events = [{"id": key, "x": {"a": n + 0.5}, "ts": NOW} for n, key in enumerate([1, "1", 2, 3, 4, 5])]
    events[5]["y"] = True
    kept.write(spec, AT, events)
    told = [
        (1, True, 0),
        ("1", False, 9),
        (1, True, 1),
        (1, False, 2),
        (2, True, 10_001),
        (3, True, -10_001),
        (5, False, 1),
    ]
    kept.write(spec, OF_LABELS, [{"id": key, "y": y, "ts": NOW + after} for key, y, after in [*told, (99, True, 0)]])
    found = loaded(kept, spec, {"events": 6})
    assert {event.id: event.y for event in found.events()} == {1: True, "1": False, 5: True}
    assert found.table.get_column("label_ts").to_list() == [NOW, NOW + 9, None]
    counts = found.counts
    assert (counts.late_labels, counts.missing_labels) == (2, 1)
    assert (counts.repeated_labels, counts.contradicting_labels) == (3, 2)


def test_labels_between_the_events_are_joined() -> None:
    """Labels are joined where the labels topic is the events topic."""
    kept, spec = InMemoryArchive(size=3), model(labels="events")
    mixed = chain.from_iterable(({"id": n, "x": {"a": n + 0.5}}, {"id": n, "y": n % 2 == 0}) for n in range(9))
    kept.write(spec, AT, [*mixed])
    found = loaded(kept, spec, {"events": 4})
    assert [(event.id, event.y) for event in found.events()] == [(5, False), (6, True), (7, False), (8, True)]
    assert found.counts.read == 4


def test_duplicates_are_removed_before_any_split_and_counted() -> None:
    """Duplicates by id, then by features and label, are removed but for the first; another label is no duplicate."""
    kept, spec = InMemoryArchive(size=3), model()
    given = [*rows(range(4)), rows([1])[0], {**rows([7])[0], "y": False}, {**rows([8])[0], "x": {"a": 1.5}, "y": False}]
    kept.write(spec, AT, given)
    found = loaded(kept, spec, {"events": 7})
    assert ids(found) == [0, 1, 2, 3, 7]
    assert (found.counts.same_id, found.counts.same_content, found.counts.kept) == (1, 1, 5)
    assert ids(loaded(kept, spec, {"events": 7, "duplicates": "id"})) == [0, 1, 2, 3, 7, 8]


def test_what_the_guard_refuses_is_left_out() -> None:
    """Undecodable records, extreme magnitudes and features of another type are left out and counted."""
    kept, spec = InMemoryArchive(), model()
    given: list[Any] = rows(range(50))
    given[44] = {"id": 44, "x": {"a": 1e11}, "y": True}
    given[45] = {"id": 45, "x": {"a": "text"}, "y": True}
    given[46] = b"nonsense"
    kept.write(spec, AT, given)
    found = loaded(kept, spec, {"events": 100})
    assert ids(found) == [*range(44), 47, 48, 49]
    assert (found.counts.guarded, found.counts.undecodable, found.counts.read) == (1, 2, 50)


def test_numbers_come_back_as_they_were_written() -> None:
    """Integer features stay integers, mixed ones keep both types, and an absent feature is not null."""
    kept, spec = InMemoryArchive(size=2), model()
    xs = [{"a": 1, "b": 2.0}, {"a": 2, "b": 3, "c": "s"}, {"a": 3, "b": None}, {"a": 4}]
    kept.write(spec, AT, [{"id": n, "x": x, "y": True} for n, x in enumerate(xs)])
    found = [event.x for event in loaded(kept, spec, {"events": 4}).events()]
    assert found == xs
    assert [[type(value) for value in x.values()] for x in found] == [[type(v) for v in x.values()] for x in xs]


@pytest.mark.parametrize(
    ("task", "labels"), [("multiclass", ["a", "b", "a"]), ("regression", [1.5, 2, -3.0]), ("multiclass", [1, 2, 3])]
)
def test_every_task_has_its_labels(task: str, labels: list[Any]) -> None:
    """Classes are read as text or integers, and regression labels as numbers."""
    kept, spec = InMemoryArchive(), model(task=task, labels="labels")
    kept.write(spec, AT, [{"id": n, "x": {"a": n + 0.5}} for n in range(3)])
    kept.write(spec, OF_LABELS, [{"id": n, "y": y} for n, y in enumerate(labels)])
    assert [event.y for event in loaded(kept, spec, {"events": 3}).events()] == labels


def test_classes_of_two_types_are_refused() -> None:
    """A window with the classes 1 and "1" is refused: river tells them apart, and scikit-learn does not."""
    kept, spec = InMemoryArchive(size=1), model(task="multiclass")
    kept.write(spec, AT, [{"id": 1, "x": {"a": 1.5}, "y": "1"}, {"id": 2, "x": {"a": 1.5}, "y": 1}])
    with pytest.raises(TrainingDataError, match="types integer and string"):
        loaded(kept, spec, {"events": 3})


@pytest.mark.parametrize(("window", "found"), [({"events": 6}, "5 events"), ({"days": 2}, "days of events")])
def test_an_archive_that_begins_too_late_is_told(window: dict[str, Any], found: str) -> None:
    """A window past the archive's lost beginning is refused; a young topic is taken as it is."""
    kept, spec = InMemoryArchive(), model()
    kept.write(spec, AT, rows(range(5)), first=1000)
    with pytest.raises(BelowStartError, match=rf"begin at offset 1000, with .*{found}.*choose a shorter `window`"):
        loaded(kept, spec, window)
    kept.write(spec, AT, rows(range(5)))
    assert len(loaded(kept, spec, window)) == 5


def test_an_empty_window_is_told() -> None:
    """A window is refused with its cause: no archive, a position before its beginning, or everything excluded."""
    kept, spec = InMemoryArchive(), model()
    with pytest.raises(TrainingDataError, match="no event of events in the archive at all"):
        loaded(kept, spec, {"events": 6})
    kept.write(spec, AT, rows(range(5)))
    with pytest.raises(TrainingDataError, match=r"before events\[0\]@0"):
        loaded(kept, spec, {"events": 6}, until=Position({AT: 0}))
    with pytest.raises(TrainingDataError, match="1 exclusions left out"):
        loaded(kept, spec, {"days": 6}, hidden=[OffsetRange("events", 0, 0, 5)])


def test_a_window_without_labels_is_told() -> None:
    """A window without labels is refused, with the counts of what became of its events."""
    kept, spec = InMemoryArchive(), model(labels="labels")
    kept.write(spec, AT, [{"id": n, "x": {"a": 1.5}} for n in range(3)])
    with pytest.raises(TrainingDataError, match="3 read, 3 missing_labels"):
        loaded(kept, spec, {"events": 6})
