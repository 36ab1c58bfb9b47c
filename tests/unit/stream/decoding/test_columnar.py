"""The columnar decoder gives the same events as the plain one, and learning from them gives the same model."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import linear_model, preprocessing

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import DecodedRecords, Event, Label, Records, Task, TopicPartition
from service.learning.engine.columns import EventColumns, normalize_event
from service.learning.learner.learner import Learner
from service.stream.decoding.columnar import ColumnarDecoder
from service.stream.decoding.envelope import EnvelopeDecoder
from service.stream.decoding.factory import make_decoder

AT = TopicPartition("t", 0)
NOW = 1_700_000_000_000
LIMIT = 400
LABELS: dict[Task, st.SearchStrategy[Any]] = {
    Task.BINARY: st.booleans(),
    Task.MULTICLASS: st.sampled_from(["x", "y", "z"]),
    Task.REGRESSION: st.one_of(st.integers(-100, 100), st.floats(-100, 100)),
}


def plain(task: Task) -> EnvelopeDecoder:
    """Return the decoder that reads every event by itself if it must."""
    return EnvelopeDecoder(task, max_event_bytes=LIMIT)


def run(values: Sequence[bytes], first: int = 0) -> Records:
    """Return a run without gaps."""
    return Records(AT, range(first, first + len(values)), [NOW] * len(values), values, first + len(values))


def event(number: int, y: Label = True, **more: Any) -> dict[str, Any]:
    """Return an event that fits into columns."""
    return {"id": number, "x": {"b": number / 7, "a": number % 3}, "y": y, **more}


def as_bytes(documents: Sequence[Any]) -> list[bytes]:
    """Encode documents as JSON, except those that are bytes already."""
    return [one if isinstance(one, bytes) else json.dumps(one).encode() for one in documents]


ODD = st.sampled_from(
    [
        event(1, x={"a": 1, "b": 2.5}),
        event(2, x={"a": 1}),
        event(3, x={}),
        event(4, x={"a": 1, "b": 2, "c": 3}),
        event(5, x={"a": "1", "b": 2}),
        event(6, x={"a": None, "b": 2}),
        event(7, x={"a": True, "b": 2}),
        event(8, x={"a": 2**53 + 1, "b": 2}),
        event(9, x={"a": 2**70, "b": 2}),
        event(10, x={"a": 1e300, "b": 2}),
        event(11, ts=NOW - 5),
        event(12, ts="2026-01-01T00:00:00Z"),
        event(13, ts=NOW * 2),
        event(14, weight=2.0),
        event(15, group="g"),
        event(16, other=1),
        event(17, y=None),
        event(18, y="false"),
        event(19, id="a:b"),
        event(20, id="x" * 200),
        event(21, id=None),
        event(22, x={"a": 1, "b": 2, "p": "y" * 500}),
        {"x": {"b": 1, "a": 2}, "y": True},
        b'{"id":23,"x":{"b":1,"a":2,"a":3},"y":true}',
        b'{"id":24,"x":{"b":NaN,"a":2},"y":true}',
        b'{"id":25,"x":{"b":1e999,"a":2},"y":true}',
        b'{"id":26,"x":{"b":1,"a":2},"y":true} ',
        b'{"id":27,"x":{"b":1,"a":2},"y":true',
        b'{"id":28,"x":{"b":1,"\\u0061":2},"y":true}',
        b"\xff",
    ]
)


@st.composite
def streams(draw: st.DrawFn, task: Task) -> list[bytes]:
    """Draw runs mostly of one layout, with odd ones in between."""
    count = draw(st.integers(1, 60))
    found = [event(100 + number, draw(LABELS[task])) for number in range(count)]
    odd = draw(st.lists(st.tuples(st.integers(0, count - 1), ODD), max_size=3))
    for place, one in odd:
        found[place] = one
    return as_bytes(found)


def told(found: DecodedRecords) -> tuple[list[Event], list[Any]]:
    """Return the decoder's outcome, with numbers as floats, as columns give them."""
    return [normalize_event(one, offset=one.offset) for one in found.events], list(found.refusals)


@pytest.mark.parametrize("task", list(Task))
@given(data=st.data())
@settings(max_examples=150)
def test_columns_say_what_the_plain_decoder_says(task: Task, data: st.DataObject) -> None:
    """For any stream the decoder gives the same events and the same refusals as the plain one."""
    records = run(data.draw(streams(task)))
    ours, theirs = ColumnarDecoder(plain(task), task).decode(records), plain(task).decode(records)
    assert told(ours) == told(theirs)
    assert (ours.at, ours.first_offset, ours.next_offset) == (theirs.at, theirs.first_offset, theirs.next_offset)


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("more", [{}, {"ts": NOW - 1}])
def test_numbers_of_one_layout_come_in_columns(task: Task, more: dict[str, Any]) -> None:
    """Numbers of one layout are decoded into columns, in any order of keys."""
    y = {Task.BINARY: True, Task.MULTICLASS: "x", Task.REGRESSION: 2}[task]
    documents = [event(number, y, **more) for number in range(50)]
    documents[7]["x"] = dict(reversed(documents[7]["x"].items()))
    found = ColumnarDecoder(plain(task), task).decode(run(as_bytes(documents))).events
    assert isinstance(found, EventColumns)
    assert found.names == ("a", "b")
    assert [one.x for one in found] == [{"a": number % 3, "b": number / 7} for number in range(50)]
    assert [one.x for one in found[3:5]] == [found[3].x, found[4].x]


@given(streams(Task.BINARY), st.lists(st.integers(1, 30), min_size=1), st.booleans())
@settings(max_examples=100)
def test_what_is_learned_depends_on_the_events_alone(values: list[bytes], sizes: list[int], columnar: bool) -> None:
    """Predictions, counts, guard and metrics depend only on the events, not on columns, run lengths or restarts."""
    text = {"name": "m", "task": "binary", "events": "t", "estimator": "linear_model.LogisticRegression"}
    spec = ModelSpec.model_validate({**text, "learn": {"batch": 7}, "guard": {"max_event_bytes": LIMIT}})
    fresh = Learner.new(spec, preprocessing.StandardScaler() | linear_model.LogisticRegression())
    whole = Learner(spec, fresh)
    whole.learn(make_decoder(spec).decode(run(values)))
    decoder = make_decoder(spec) if columnar else plain(Task.BINARY)
    learner, first = Learner(spec, fresh), 0
    while first < len(values):
        size = sizes[first % len(sizes)]
        learner.learn(decoder.decode(run(values[first : first + size], first)))
        learner = Learner(spec, learner.state())
        first += size
    for one in (whole, learner):
        one.flush()
    assert learner.counts == whole.counts
    assert learner.report() == whole.report()
    for probe in ({"a": 1.0, "b": 3.5}, {"a": -2.0, "b": 0.25}):
        assert learner.predict(probe) == whole.predict(probe)
    mine, other = msgspec.msgpack.decode(learner.state()), msgspec.msgpack.decode(whole.state())
    assert all(mine[part] == other[part] for part in ("guard", "dedupe", "batch", "counts"))
