"""Frames of the archive hold the events, labels and refusals that decoding gives."""

from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.registry.archive import EVENT, LABEL, REFUSED
from service.domain.registry.served_prediction import ServedEvent, encode_served_record
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Event, Records, ServedPrediction, TopicPartition
from service.errors import ArtifactError, NotFoundError
from service.learning.datasets.dataset import table_events
from service.stream.archive.frames import NoArchiveFrames
from service.stream.decoding.factory import make_decoder
from tests.archived import NOW, InMemoryArchive

AT, OF_LABELS = TopicPartition("events", 0), TopicPartition("labels", 0)


def model(**changes: Any) -> ModelSpec:
    """Return a model of the events topic."""
    return ModelSpec.model_validate({"name": "m", "task": "binary", "events": "events", "factory": "a:b", **changes})


def read(kept: InMemoryArchive, spec: ModelSpec, at: TopicPartition = AT, *, until: int = 10**9) -> pl.DataFrame:
    """Read all of a partition, in offset order."""
    reader = kept.reader(spec)
    found: pl.DataFrame = reader.read([*reader.pieces(at, until=until)])
    return found.sort("offset")


def events(frame: pl.DataFrame) -> list[Event]:
    """Return the rows that are events, as objects."""
    rows = frame.filter(pl.col("kind") == EVENT)
    labels = [name for name in rows.columns if name.startswith("y_")]
    return table_events(rows.with_columns((pl.coalesce(labels) if labels else pl.lit(None)).alias("y")))


def typed(event: Event) -> Any:
    """Return the features with their types, so that 1 and 1.0 differ."""
    return {name: (type(value), value) for name, value in event.x.items()}


names = st.sampled_from("abc")
values = st.floats(-9, 9) | st.integers(-9, 9) | st.text("xy", max_size=2) | st.booleans() | st.none()
steady = st.fixed_dictionaries({"a": st.floats(-9, 9) | st.integers(-3, 3), "b": st.sampled_from(["x", "y"])})


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """Draw records mostly of one layout, sometimes of any, refused, or a label."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return b"nonsense"
    if kind == 1:
        return {"id": draw(st.integers(0, 99)), "y": draw(st.booleans())}
    x = draw(st.dictionaries(names, values, min_size=1) if kind == 2 else steady)
    found = {"id": draw(st.integers(-9, 99) | st.text("ab", min_size=1, max_size=3)), "x": x}
    if draw(st.booleans()):
        found |= {"y": draw(st.booleans()), "group": draw(st.integers(0, 3) | st.text("g", max_size=2)), "weight": 2.0}
    return found


@settings(max_examples=200, deadline=None)
@given(st.lists(documents(), min_size=1, max_size=40), st.sampled_from([1, 7, 100]), st.booleans())
def test_frames_hold_what_decoding_gives(given: list[Any], size: int, raw: bool) -> None:
    """Events whose features have the commonest types are equal to the decoded ones; the others are refused."""
    spec, kept = model(labels="events"), InMemoryArchive(size=size)
    kept.write(spec, AT, given, raw=raw)
    bytes_ = [one if isinstance(one, bytes) else msgspec.json.encode(one) for one in given]
    decoded = make_decoder(spec).decode(
        Records(AT, range(len(bytes_)), range(NOW, NOW + len(bytes_)), bytes_, len(bytes_))
    )
    frame = read(kept, spec)
    assert frame.get_column("offset").to_list() == [*range(len(given))]
    assert frame.get_column("timestamp").to_list() == [*range(NOW, NOW + len(given))]
    found = {event.offset: event for event in events(frame)}
    expected = {event.offset: event for event in decoded.events}
    assert all(expected[offset] == event for offset, event in found.items())
    assert all(typed(expected[offset]) == typed(event) for offset, event in found.items())
    seen = [(name, type(value)) for event in expected.values() for name, value in event.x.items() if value is not None]
    if all(len({float if kind is int else kind for name, kind in seen if name == one}) <= 1 for one in "abc"):
        assert found == expected
    refused = set(frame.filter(pl.col("kind") == REFUSED).get_column("offset"))
    assert refused == {one.offset for one in decoded.refusals} | (set(expected) - set(found))
    labels = frame.filter(pl.col("kind") == LABEL)
    assert labels.get_column("offset").to_list() == [truth.offset for truth in decoded.truths]


def test_a_piece_tells_its_rows_and_times() -> None:
    """Pieces come newest first, cut where reading ends; a file is read only when its piece is requested."""
    spec, kept = model(), InMemoryArchive(size=10)
    kept.write(spec, AT, [{"id": n, "x": {"a": 1.5}, "ts": n} for n in range(35)], first=100)
    reader = kept.reader(spec)
    pieces = reader.pieces(AT, until=128)
    first = next(pieces)
    assert (first.first, first.last, first.rows, first.oldest_ms, first.newest_ms) == (120, 128, 8, 20, 29)
    assert kept.reads == 1
    assert [(one.first, one.last) for one in pieces] == [(110, 120), (100, 110)]
    assert read(kept, spec, until=128).get_column("offset").to_list() == [*range(100, 128)]


def test_labels_of_their_own_topic_are_labels() -> None:
    """Labels of their own topic are read with id, time and label."""
    spec, kept = model(labels="labels"), InMemoryArchive()
    kept.write(spec, OF_LABELS, [{"id": 1, "y": True}, {"id": "a", "y": False, "ts": 5}, b"nonsense"])
    found = read(kept, spec, OF_LABELS).select("kind", "id_number", "id_text", "ts", "y_boolean").rows()
    assert found == [(LABEL, 1, None, NOW, True), (LABEL, None, "a", 5, False), (REFUSED, None, None, None, None)]


def test_other_fields_are_read_from_the_bytes_or_refused() -> None:
    """Rows archived by another mapping are decoded from their bytes, or refused if those were not kept."""
    old, new = model(), model(fields={"x": ["$.other"]})
    rows = [{"id": n, "x": {"a": 1.5}, "other": n} for n in range(5)]
    kept = InMemoryArchive()
    kept.write(old, AT, rows, raw=True)
    assert [event.x for event in events(read(kept, new))] == [{"other": n} for n in range(5)]
    kept.write(old, AT, [{"id": n, "x": {"a": 1.5}} for n in range(5)])
    with pytest.raises(NotFoundError, match="offsets 0 to 4 archived by other `fields`"):
        read(kept, new)


def test_a_file_that_is_none_is_told() -> None:
    """A file that is not the archive's is named."""
    spec, kept = model(), InMemoryArchive()
    kept.write(spec, AT, [{"id": 1, "x": {"a": 1.5}}])
    kept._files[AT][0] = b"nonsense"
    with pytest.raises(ArtifactError, match=r"events\[0\] 0 not readable as Parquet"):
        read(kept, spec)


def test_without_an_archive_there_is_nothing() -> None:
    """Without an archive there are no bounds, no pieces and no rows."""
    found = NoArchiveFrames()
    assert (found.bounds(["events"]), [*found.pieces(AT, until=5)], found.read([]).height) == ({}, [], 0)


@pytest.mark.parametrize("raw", [False, True])
def test_what_was_served_is_an_event_to_train_on(raw: bool) -> None:
    """A served prediction is an event to train on: its features are columns, and its label is joined as any."""
    spec, kept = model(labels="events", log_predictions=True), InMemoryArchive(size=100)
    said = ServedPrediction("m", "1-1", 1, 1, True, [(False, 0.25), (True, 0.75)])
    given = [encode_served_record(ServedEvent(number, {"a": number, "b": "x"}), said) for number in range(4)]
    kept.write(spec, AT, [*given, {"id": 0, "y": True}, {"id": 9, "x": {"a": 1, "b": "y"}}], raw=raw)
    frame = read(kept, spec)
    assert [(event.id, event.x) for event in events(frame)] == [
        *((number, {"a": number, "b": "x"}) for number in range(4)),
        (9, {"a": 1, "b": "y"}),
    ]
    assert frame.get_column("kind").to_list() == [EVENT] * 4 + [LABEL, EVENT]
