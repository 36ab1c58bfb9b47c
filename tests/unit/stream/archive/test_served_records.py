"""Records of served predictions are recognized by their prefix in any layout, and validated like all others."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.registry.archive import ArchivedTopic, ArchiveFileInfo
from service.domain.registry.served_prediction import SERVED_PREFIX, ServedEvent, encode_served_record
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import DecodedRecords, Event, Records, RefusalReason, ServedPrediction, TopicPartition
from service.stream.archive.range_file import ParquetOpenRange, read_archive_file
from service.stream.archive.rows import ArchiveRows, decode_chunk
from service.stream.decoding.factory import make_decoder

AT = TopicPartition("events", 0)
NOW = 1_700_000_000_000
SAID = ServedPrediction("m", "7-1700000000000", 3, 12, True, [(False, 0.1), (True, 0.9)])
LAYOUTS: list[dict[str, Any]] = [
    {},
    {"labels": "labels"},
    {"fields": {"id": "$.k", "x": "$"}},
    {"fields": {"id": "$.event.id", "x": "$.event.x"}},
    {"fields": {"format": "csv", "columns": ["id", "ts", "a", "y"]}},
]


def spec_of(**others: Any) -> ModelSpec:
    """Return a model whose predictions are logged."""
    named = {"name": "m", "task": "binary", "events": "events", "labels": "events", "log_predictions": True}
    return ModelSpec.model_validate({**named, "factory": "a:b", **others})


def read(values: list[bytes], spec: ModelSpec | None = None, at: TopicPartition = AT) -> DecodedRecords:
    """Decode the values with the model's decoder."""
    offsets = list(range(10, 10 + len(values)))
    return make_decoder(spec or spec_of()).decode(Records(at, offsets, [NOW] * len(values), values, 10 + len(values)))


def test_a_record_begins_with_the_prefix() -> None:
    """Only the prefix marks a record as a served prediction."""
    value = encode_served_record(ServedEvent("a", {"x": 1}), SAID)
    assert value.startswith(SERVED_PREFIX)
    assert msgspec.json.decode(value)["event"] == {"id": "a", "x": {"x": 1}}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_is_read_whatever_the_layout_of_other_records(layout: dict[str, Any]) -> None:
    """Served predictions are read beside labels and events of any layout, with each value in its own type."""
    x = {"a": 1, "b": 1.0, "c": "c", "d": None, "e": False}
    value = encode_served_record(ServedEvent(5, x, ts=NOW - 1, group="g", weight=2.0), SAID)
    found = read([b'{"id":1,"y":true}', value, b"none"], spec_of(**layout))
    (event,) = found.events
    assert event == Event(11, 5, NOW - 1, x, None, "g", 2.0)
    assert [type(one) for one in event.x.values()] == [int, float, str, type(None), bool]
    assert {11: SAID.lineage} == {at: one.lineage for at, one in found.served.items()}
    assert 12 in [one.offset for one in found.refusals]
    assert found.payload(11) == value


def test_without_the_key_it_is_a_record_like_any_other() -> None:
    """A model whose predictions are not logged refuses the record."""
    found = read([encode_served_record(ServedEvent(5, {"a": 1}), SAID)], spec_of(log_predictions=False))
    assert [one.reason for one in found.refusals] == [RefusalReason.MISSING_ID]


def test_in_a_topic_of_labels_it_is_no_label() -> None:
    """In a topic of labels the record is no served prediction, since only the events topic has them."""
    value = encode_served_record(ServedEvent(5, {"a": 1}), SAID)
    found = read([value], spec_of(labels="labels"), TopicPartition("labels", 0))
    assert (len(found.refusals), found.served) == (1, {})


HEAD = b'{"headrace.served":{"model":"m","lineage":"7-1","version":1,"checkpoint":1,"prediction":'
BAD: list[tuple[bytes, RefusalReason]] = [
    (HEAD + b'true},"event":{"id":1,"x":{"a":1},"y":true}}', RefusalReason.BAD_PREDICTION),
    (HEAD + b'"yes"},"event":{"id":1,"x":{"a":1}}}', RefusalReason.BAD_PREDICTION),
    (HEAD + b'true,"probabilities":[[true,1e200]]},"event":{"id":1,"x":{"a":1}}}', RefusalReason.BAD_PREDICTION),
    (
        HEAD + b'true,"probabilities":[[true,0.5],[true,0.5]]},"event":{"id":1,"x":{"a":1}}}',
        RefusalReason.BAD_PREDICTION,
    ),
    (HEAD + b'true,"probabilities":{"true":1}},"event":{"id":1,"x":{"a":1}}}', RefusalReason.BAD_PREDICTION),
    (HEAD + b'true,"probabilities":[["yes",1]]},"event":{"id":1,"x":{"a":1}}}', RefusalReason.BAD_PREDICTION),
    (HEAD + b'true},"event":7}', RefusalReason.NOT_AN_OBJECT),
    (HEAD + b'true},"event":{"x":{"a":1}}}', RefusalReason.MISSING_ID),
    (HEAD + b'true},"event":{"id":1}}', RefusalReason.MISSING_FEATURES),
    (HEAD + b'true},"event":{"id":1,"x":{"a":[1]}}}', RefusalReason.NON_SCALAR_FEATURE),
    (HEAD + b'true},"event":{"id":1,"x":{"a":1}},"event":{"id":2,"x":{"a":1}}}', RefusalReason.REPEATED_KEY),
    (HEAD + b'true},"event":{"id":1,"id":2,"x":{"a":1}}}', RefusalReason.REPEATED_KEY),
    (HEAD + b'true,"prediction":false},"event":{"id":1,"x":{"a":1}}}', RefusalReason.REPEATED_KEY),
    (HEAD + b"true}}", RefusalReason.BAD_PREDICTION),
    (HEAD + b"true", RefusalReason.NOT_JSON),
    (HEAD + b'NaN},"event":{"id":1,"x":{"a":1}}}', RefusalReason.NON_FINITE),
    (SERVED_PREFIX + b'1,"event":{"id":1,"x":{"a":1}}}', RefusalReason.BAD_PREDICTION),
    (
        HEAD.replace(b'"version":1', b'"version":-1') + b'true},"event":{"id":1,"x":{"a":1}}}',
        RefusalReason.BAD_PREDICTION,
    ),
    (HEAD + b'true},"event":{"id":1,"x":{"a":' + b"[" * 5000 + b"]" * 5000 + b"}}}", RefusalReason.NON_SCALAR_FEATURE),
]


@pytest.mark.parametrize(("value", "reason"), BAD)
def test_what_is_wrong_is_refused_with_its_reason_and_its_bytes(value: bytes, reason: RefusalReason) -> None:
    """An invalid record is refused with its reason and its bytes, and its neighbours are read."""
    good = encode_served_record(ServedEvent(5, {"a": 1}), SAID)
    found = read([good, value, good])
    assert [event.offset for event in found.events] == [10, 12]
    (refusal,) = found.refusals
    assert (refusal.offset, refusal.payload) == (11, value)
    assert refusal.reason in {reason, RefusalReason.NOT_JSON}


def test_one_that_is_too_large_is_refused() -> None:
    """A record that is too large is refused by the same limit as any event."""
    found = read(
        [encode_served_record(ServedEvent(5, {"a": "x" * 500}), SAID)], spec_of(guard={"max_event_bytes": 400})
    )
    assert [one.reason for one in found.refusals] == [RefusalReason.TOO_LARGE]


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_no_bytes_behind_the_prefix_are_more_than_refused(one: bytes, other: bytes) -> None:
    """Any bytes after the prefix become one event or one refusal."""
    found = read([SERVED_PREFIX + one, HEAD + other])
    assert len(found.events) + len(found.refusals) == 2


@pytest.mark.parametrize("layout", LAYOUTS[:3])
@pytest.mark.parametrize("raw", [False, True])
def test_the_archive_gives_them_back(layout: dict[str, Any], raw: bool) -> None:
    """The archive returns event and prediction as the stream gives them, and features as columns for training."""
    spec = spec_of(**layout)
    values = [encode_served_record(ServedEvent(number, {"a": number, "b": 0.5}), SAID) for number in range(5)]
    values[2:2] = [b'{"id":1,"y":true}', b'{"id":99,"x":{"a":1,"b":2.0},"k":7}', b"none"]
    offsets = list(range(len(values)))
    run = Records(AT, offsets, [NOW] * len(values), values, len(values))
    decoder = make_decoder(spec)
    range_ = ParquetOpenRange(ArchivedTopic("events", spec, raw), decoder, ArchiveFileInfo(AT, 0, 65_536, (), 0, -1))
    range_.add(run)
    facts, table = read_archive_file(range_.to_bytes(), "file")
    found = [
        decode_chunk(chunk, facts, covered=(low, high), decoder=decoder, columns=True)
        for low, high, chunk in ArchiveRows.from_table(facts, table).chunks_between(0, len(values))
    ]
    (archived,) = found
    live = decoder.decode(run)
    assert list(archived.events) == list(live.events)
    assert list(archived.truths) == list(live.truths)
    assert list(archived.refusals) == list(live.refusals)
    assert dict(archived.served) == dict(live.served)
    assert len(archived.served) == 5
    assert table.column("x").null_count <= 3 if "x" in table.column_names else not live.served
