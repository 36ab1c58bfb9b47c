"""Any JSON layout: `fields` says where the envelope's fields are."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.specification.model import FieldsSpec
from service.domain.stream.events import DecodedRecords, Event, Records, RefusalReason, Task, TopicPartition
from service.stream.decoding.envelope import EnvelopeDecoder
from service.stream.decoding.mapped import MappedDecoder

NOW = 1_700_000_000_000
NESTED = FieldsSpec(id="$.tx.id", ts="$.tx.at", y="$.fraud", x=("$.amount", "$.tx.country"), group="$.user")
FLAT = FieldsSpec(id="key", ts="at", y="label", x="$")


def run(values: list[bytes]) -> Records:
    """Return records without gaps."""
    return Records(TopicPartition("t", 0), range(len(values)), [NOW] * len(values), values, len(values))


def decode(fields: FieldsSpec, *documents: Any) -> DecodedRecords:
    """Decode documents, or bytes as they are."""
    values = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in documents]
    return MappedDecoder(fields, Task.BINARY, max_event_bytes=2000).decode(run(values))


def event(fields: FieldsSpec, document: Any) -> Event:
    """Decode the only event."""
    found = decode(fields, document)
    assert not found.refusals
    return found.events[0]


def test_nested_paths() -> None:
    """Fields and features are found along their paths; a feature is named by its path."""
    found = event(NESTED, {"tx": {"id": "t1", "at": NOW, "country": "DE"}, "amount": 5, "fraud": 1, "user": "u"})
    assert found == Event(0, "t1", NOW, {"amount": 5, "tx.country": "DE"}, y=True, group="u")


def test_features_with_names_of_their_own() -> None:
    """A mapping names the features."""
    fields = FieldsSpec(x={"much": "$.deep.er.amount", "where": "country"})
    assert event(fields, {"id": 1, "deep": {"er": {"amount": 2}}, "country": "FR"}).x == {"much": 2, "where": "FR"}


def test_everything_else_is_a_feature() -> None:
    """With `x: $` all members but the event's other fields are features, those named by default included."""
    found = event(FLAT, {"key": 7, "at": "2023-11-14T22:13:20Z", "label": False, "weight": 2, "a": 1, "b:c": "d:e"})
    assert (found.id, found.ts, found.y, found.weight, found.x) == (7, NOW, False, 2.0, {"a": 1, "b:c": "d:e"})


def test_everything_in_one_object_is_a_feature() -> None:
    """A path to an object takes its members, without the other fields that are in it."""
    fields = FieldsSpec(id="$.body.id", x="$.body")
    assert event(fields, {"body": {"id": 3, "a": 1}, "ignored": [1, {"b": 2}]}).x == {"a": 1}


def test_a_missing_feature_is_left_out() -> None:
    """Features may appear and disappear; null stays null; an event with none of them is refused."""
    assert event(NESTED, {"tx": {"id": 1, "country": None}}).x == {"tx.country": None}
    found = decode(NESTED, {"tx": {"id": 1}}, {"tx": {"id": 1, "amount": 1}})
    assert [refusal.reason for refusal in found.refusals] == [RefusalReason.MISSING_FEATURES] * 2


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", RefusalReason.NOT_JSON),
        (b'{"key": 1', RefusalReason.NOT_JSON),
        (b'{"key": 1, "a": ' + b'{"a":' * 150 + b"1" + b"}" * 150 + b"}", RefusalReason.NOT_JSON),
        (b"[]", RefusalReason.NOT_AN_OBJECT),
        (b'{"key": 1, "key": 1, "a": 1}', RefusalReason.REPEATED_KEY),
        (b'{"key": 1, "a": "x:y", "b": 1, "b": "\\u003a"}', RefusalReason.REPEATED_KEY),
        (b'{"a": 1}', RefusalReason.MISSING_ID),
        (b'{"key": true, "a": 1}', RefusalReason.BAD_ID),
        (b'{"key": 1, "at": "now", "a": 1}', RefusalReason.BAD_TIME),
        (b'{"key": 1, "at": "2098-01-01T00:00:00Z", "a": 1}', RefusalReason.FUTURE_TIME),
        (b'{"key": 1, "a": [1]}', RefusalReason.NON_SCALAR_FEATURE),
        (b'{"key": 1, "a": NaN}', RefusalReason.NON_FINITE),
        (b'{"key": 1, "a": -1e999}', RefusalReason.NON_FINITE),
        (b'{"key": 1, "a": 99999999999999999999999}', RefusalReason.MAGNITUDE),
        (b'{"key": 1, "a": 1, "label": "true"}', RefusalReason.BAD_LABEL),
        (b'{"key": 1, "a": 1, "group": 1.5}', RefusalReason.BAD_GROUP),
        (b'{"key": 1, "a": 1, "weight": "1"}', RefusalReason.BAD_WEIGHT),
        (b'{"key": 1, "a": "' + b"b" * 2000 + b'"}', RefusalReason.TOO_LARGE),
    ],
)
def test_refused_with_its_reason(raw: bytes, reason: RefusalReason) -> None:
    """A mapped record is refused for the same reasons as an envelope, and its neighbours are read."""
    found = decode(FLAT, {"key": 1, "a": 1}, raw, {"key": 2, "a": 1})
    assert [(refusal.offset, refusal.reason, refusal.payload) for refusal in found.refusals] == [(1, reason, raw)]
    assert [kept.id for kept in found.events] == [1, 2]


def test_a_path_through_something_that_is_no_object() -> None:
    """If a path leads through a number, the field is missing rather than an error."""
    found = decode(NESTED, {"tx": 5, "amount": 1}, {"tx": [1], "amount": 1}, {"tx": None, "amount": 1})
    assert [refusal.reason for refusal in found.refusals] == [RefusalReason.MISSING_ID] * 3


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abx:"), inner, max_size=3),
    max_leaves=6,
)
layouts = st.sampled_from([NESTED, FLAT, FieldsSpec(), FieldsSpec(id="$.a.b", x="$.x"), FieldsSpec(x={"n": "$.a.a"})])


@settings(max_examples=300, deadline=None)
@given(layouts, st.lists(trees.map(lambda tree: json.dumps(tree).encode()) | st.binary(max_size=30), max_size=6))
def test_one_event_or_one_refusal(fields: FieldsSpec, values: list[bytes]) -> None:
    """Arbitrary documents and bytes never raise, and a run says the same as its records alone."""
    found = decode(fields, *values)
    offsets = sorted([kept.offset for kept in found.events] + [refusal.offset for refusal in found.refusals])
    assert offsets == list(range(len(values)))
    alone = [decode(fields, raw) for raw in values]
    assert [kept.x for kept in found.events] == [kept.x for one in alone for kept in one.events]
    assert [one.reason for one in found.refusals] == [refusal.reason for one in alone for refusal in one.refusals]


parts = st.fixed_dictionaries(
    {"id": scalars, "x": st.dictionaries(st.text(max_size=3), scalars, max_size=3)},
    optional={"ts": scalars, "y": scalars, "group": scalars, "weight": scalars},
)


@settings(max_examples=300, deadline=None)
@given(parts, st.sampled_from(Task))
def test_no_mapping_is_the_envelope(document: dict[str, Any], task: Task) -> None:
    """Empty `fields` decode exactly what the envelope's own decoder does."""
    records = run([json.dumps(document).encode()])
    mapped, native = MappedDecoder(FieldsSpec(), task).decode(records), EnvelopeDecoder(task).decode(records)
    assert (mapped.events, mapped.refusals) == (native.events, native.refusals)
