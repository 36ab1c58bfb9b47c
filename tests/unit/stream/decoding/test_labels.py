"""Labels as records of their own give one label or one refusal each, told from events by topic or by content."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.specification.model import FieldsSpec, LabelFieldsSpec, ModelSpec
from service.domain.stream.events import (
    DecodedRecords,
    Event,
    Label,
    LabelRecord,
    Records,
    RefusalReason,
    Task,
    TopicPartition,
)
from service.errors import ConfigurationError
from service.ports.stream import Decoder
from service.stream.decoding.factory import make_decoder
from service.stream.decoding.labels import LabelDecoder, label_layout

NOW = 1_700_000_000_000
LIMIT = 500
SPELLED_OUT = LabelFieldsSpec(id="$.id", ts="$.ts", y="$.y")
"""The plain layout, written so that every record is read by itself."""


def records(values: Sequence[bytes], *, topic: str = "labels") -> Records:
    """Return a run with gaps between its offsets."""
    offsets = [10 + 3 * number for number in range(len(values))]
    return Records(TopicPartition(topic, 0), offsets, [NOW] * len(values), values, 1_000_000)


def decode(values: Sequence[bytes], fields: LabelFieldsSpec | None = None, task: Task = Task.BINARY) -> DecodedRecords:
    """Decode the run at once."""
    return LabelDecoder(fields, task, max_event_bytes=LIMIT).decode(records(values))


def told(values: Sequence[bytes], fields: LabelFieldsSpec | None = None) -> list[tuple[Any, int, Label]]:
    """Return id, time and label of each."""
    found = decode(values, fields)
    assert found.refusals == []
    return [(one.id, one.ts - NOW, one.y) for one in found.truths]


def outcomes(found: DecodedRecords) -> list[Any]:
    """Return labels and refusal reasons in offset order, with types."""
    rows: list[tuple[int, str]] = [(one.offset, repr(one)) for one in found.truths]
    rows += [(one.offset, one.reason) for one in found.refusals]
    return [row for _, row in sorted(rows)]


def label(**changes: Any) -> bytes:
    """Return a valid label with some of its members changed; `...` leaves one out."""
    members = {"id": 1, "y": True} | changes
    return json.dumps({key: value for key, value in members.items() if value is not ...}).encode()


REFUSED = [
    (b"", RefusalReason.NOT_JSON),
    (b'{"id": 1, "y": true', RefusalReason.NOT_JSON),
    (b'{"id": "\xff", "y": true}', RefusalReason.NOT_JSON),
    (b'{"id": 1, "y": true, "more": ' + b"[" * 120 + b"]" * 120 + b"}", RefusalReason.NOT_JSON),
    (b"[1, true]", RefusalReason.NOT_AN_OBJECT),
    (b"true", RefusalReason.NOT_AN_OBJECT),
    (b'{"id": 1, "id": 2, "y": true}', RefusalReason.REPEATED_KEY),
    (b'{"id": 1, "y": true, "y": false}', RefusalReason.REPEATED_KEY),
    (b'{"id": 1, "y": true, "\\u0079": false}', RefusalReason.REPEATED_KEY),
    (b'{"id": 1, "y": true, "more": {"a": 1, "a": 2}}', RefusalReason.REPEATED_KEY),
    (label(id=...), RefusalReason.MISSING_ID),
    (label(id=None), RefusalReason.MISSING_ID),
    (label(id=""), RefusalReason.BAD_ID),
    (label(id="i" * 129), RefusalReason.BAD_ID),
    (label(id=2**63), RefusalReason.BAD_ID),
    (label(id=1.0), RefusalReason.BAD_ID),
    (label(id=True), RefusalReason.BAD_ID),
    (label(id=[1]), RefusalReason.BAD_ID),
    (label(y=...), RefusalReason.MISSING_LABEL),
    (label(y=None), RefusalReason.MISSING_LABEL),
    (label(y="false"), RefusalReason.BAD_LABEL),
    (label(y=2), RefusalReason.BAD_LABEL),
    (label(y=1.0), RefusalReason.BAD_LABEL),
    (label(y=[True]), RefusalReason.BAD_LABEL),
    (label(y={}), RefusalReason.BAD_LABEL),
    (label(ts="yesterday"), RefusalReason.BAD_TIME),
    (label(ts="2023-11-14T22:13:20"), RefusalReason.BAD_TIME),
    (label(ts=1.5), RefusalReason.BAD_TIME),
    (label(ts=[1]), RefusalReason.BAD_TIME),
    (label(ts=NOW + 3_600_001), RefusalReason.FUTURE_TIME),
    (label(more="x" * LIMIT), RefusalReason.TOO_LARGE),
    (b'{"id": 1, "y": 1e999}', RefusalReason.NON_FINITE),
    (b'{"id": 1, "y": NaN}', RefusalReason.NON_FINITE),
]


@pytest.mark.parametrize("fields", [None, SPELLED_OUT], ids=["plain", "mapped"])
@pytest.mark.parametrize(("raw", "reason"), REFUSED, ids=lambda case: str(case)[:50])
def test_refused_with_its_reason(raw: bytes, reason: RefusalReason, fields: LabelFieldsSpec | None) -> None:
    """A record that is no label is refused for its own reason, alone and among good ones."""
    assert outcomes(decode([raw], fields)) == [reason]
    found = decode([label(id=0), raw, label(id=2)], fields)
    assert [(one.offset, one.id) for one in found.truths] == [(10, 0), (16, 2)]
    assert [(one.offset, one.reason, one.payload) for one in found.refusals] == [(13, reason, raw)]
    assert found.events == []


@pytest.mark.parametrize(
    ("task", "accepted", "refused"),
    [
        (Task.BINARY, [True, False, 0, 1], ["false", "1", 2, 0.0, -1]),
        (Task.MULTICLASS, ["a", "", True, 3, -4], [1.0, [1], {}]),
        (Task.REGRESSION, [1, -2.5, 0, 1e300], ["1.0", True, False, [1.0]]),
    ],
)
def test_labels_are_strict(task: Task, accepted: list[Any], refused: list[Any]) -> None:
    """A label has the type that the task needs, or is refused, as it would be beside its features."""
    found = decode([label(id=number, y=y) for number, y in enumerate(accepted)], task=task)
    assert [one.y for one in found.truths] == accepted
    assert task is not Task.BINARY or {type(one.y) for one in found.truths} == {bool}
    assert {outcomes(decode([label(y=y)], task=task))[0] for y in refused} == {RefusalReason.BAD_LABEL}


def test_times() -> None:
    """A label's time is its own, or the record's; runs may mix both."""
    assert told([label(), label(ts="2023-11-14T22:13:20.5Z"), label(ts=NOW + 7), label(ts=None)]) == [
        (1, 0, True),
        (1, 500, True),
        (1, 7, True),
        (1, 0, True),
    ]
    assert told([label(ts=NOW + 1), label(ts=NOW - 2)]) == [(1, 1, True), (1, -2, True)]


def test_other_keys_are_passed_over() -> None:
    """Other keys of a label are ignored if labels have a topic of their own."""
    assert told([label(x={"a": 1}, by="ann", more=[{"y": False}])]) == [(1, 0, True)]
    assert told([label(id="a:b"), label(id='":', note="a:b:c")]) == [("a:b", 0, True), ('":', 0, True)]


def test_an_empty_run() -> None:
    """A run of nothing but gaps has no labels and keeps its position."""
    found = decode([])
    assert (found.truths, found.refusals, found.first_offset, found.next_offset) == ([], [], 1_000_000, 1_000_000)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["", ":", '"', '":', "\\", "false", "2023-11-14T22:13:20Z", "i" * 129]),
)
values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.text(max_size=2), scalars, max_size=2)
names = st.sampled_from(["id", "y", "ts", "x", "a", ":", "i\u0064"])


def written(pairs: Sequence[tuple[str, Any]]) -> bytes:
    """Write members as they come, so that a key may be repeated."""
    return ("{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs) + "}").encode()


raws = st.one_of(
    st.builds(label, id=st.integers(0, 9), y=st.booleans()),
    st.builds(label, id=st.text(min_size=1, max_size=3), y=scalars, ts=st.integers(NOW - 10, NOW + 10**7)),
    st.fixed_dictionaries({"id": scalars, "y": scalars}, optional={"ts": values, "x": values, "a": values}).map(
        lambda found: written([*found.items()])
    ),
    st.lists(st.tuples(names, values), max_size=4).map(written),
    st.binary(max_size=20),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(raws, max_size=8), st.sampled_from(Task))
def test_the_fast_path_equals_the_slow_one(lines: list[bytes], task: Task) -> None:
    """A run, its records one by one, and the same layout read key by key give the same labels and reasons."""
    together = outcomes(decode(lines, task=task))
    slowly = outcomes(decode(lines, SPELLED_OUT, task))
    alone = [outcomes(decode([raw], task=task))[0] for raw in lines]
    assert together == slowly
    assert [str(one).replace("offset=10", "") for one in alone] == [
        str(one).replace(f"offset={offset}", "") for one, offset in zip(together, records(lines).offsets, strict=True)
    ]


@given(st.lists(st.tuples(st.integers() | st.text(max_size=5), scalars, scalars), max_size=8), st.sampled_from(Task))
def test_a_label_is_what_it_would_be_beside_its_features(rows: list[tuple[Any, Any, Any]], task: Task) -> None:
    """Id, time and label are checked and read as those of an event that carries them inline."""
    spec = model(task=task)
    inline = [json.dumps({"id": key, "ts": ts, "y": y, "x": {}}).encode() for key, ts, y in rows]
    apart = [json.dumps({"id": key, "ts": ts, "y": y}).encode() for key, ts, y in rows]
    events = make_decoder(spec).decode(records(inline, topic="events"))
    truths = make_decoder(spec).decode(records(apart, topic="labels"))
    labelled = [event for event in events.events if event.y is not None]
    assert [repr(LabelRecord(one.offset, one.id, one.ts, one.y)) for one in labelled if one.y is not None] == [
        *map(repr, truths.truths)
    ]
    expected = {one.offset: one.reason for one in events.refusals}
    expected |= {one.offset: RefusalReason.MISSING_LABEL for one in events.events if one.y is None}
    found = {one.offset: one.reason for one in truths.refusals}
    assert found.keys() == expected.keys()


def test_mapped_labels() -> None:
    """Paths lead to the fields; a field that is left out keeps its name."""
    fields = LabelFieldsSpec(id="$.case.number", y="$.verdict.fraud")
    raw = b'{"case": {"number": 7, "by": "ann"}, "verdict": {"fraud": false}, "ts": 1700000000001}'
    assert told([raw], fields) == [(7, 1, False)]
    assert outcomes(decode([b'{"case": {}, "verdict": {"fraud": true}}', b'{"case": {"number": 7}}'], fields)) == [
        RefusalReason.MISSING_ID,
        RefusalReason.MISSING_LABEL,
    ]


def test_csv_labels() -> None:
    """A CSV label has id, ts and y, or the columns that are named; empty cells are missing."""
    assert told([b"a,,true", b"b,1700000000005,0"], LabelFieldsSpec(format="csv")) == [("a", 0, True), ("b", 5, False)]
    fields = LabelFieldsSpec(format="csv", columns=("truth", "note", "key"), id="key", y="truth")
    assert told([b'1,"a, b",k'], fields) == [("k", 0, True)]
    refused = [b"truth,note,key", b"1,k", b",n,k", b"1,n,", b"maybe,n,k", b"nan,n,k", b'1,"n,k']
    assert outcomes(decode(refused, fields)) == [
        RefusalReason.NOT_CSV,
        RefusalReason.NOT_CSV,
        RefusalReason.MISSING_LABEL,
        RefusalReason.MISSING_ID,
        RefusalReason.BAD_LABEL,
        RefusalReason.NON_FINITE,
        RefusalReason.NOT_CSV,
    ]


def test_csv_columns_must_hold_id_and_label() -> None:
    """A layout without a column for the id or the label is refused when it is configured."""
    with pytest.raises(ConfigurationError, match=r"label_fields\.columns"):
        LabelDecoder(LabelFieldsSpec(format="csv", columns=("key", "y"), id="number"), Task.BINARY)


@pytest.mark.parametrize("columns", [("id", "y", "y"), ("id", "y", "note", "note")])
def test_csv_columns_have_names_of_their_own(columns: tuple[str, ...]) -> None:
    """A column name given twice is refused when it is configured, whether or not it is a field's."""
    with pytest.raises(ConfigurationError, match=rf"label_fields\.columns: found '{columns[-1]}' more than once"):
        LabelDecoder(LabelFieldsSpec(format="csv", columns=columns), Task.BINARY)


def model(**changes: Any) -> ModelSpec:
    """Return a model whose labels have a topic of their own."""
    named = {"name": "m", "task": "binary", "events": "events", "labels": "labels"}
    return ModelSpec.model_validate({**named, "estimator": "linear_model.LogisticRegression", **changes})


def decoder(**changes: Any) -> Decoder:
    """Return that model's decoder."""
    return make_decoder(model(**changes))


def kinds(found: DecodedRecords) -> list[tuple[int, str]]:
    """Return the kind of each record's outcome."""
    rows = [(one.offset, "event" if one.y is None else "labelled event") for one in found.events]
    rows += [(one.offset, "label") for one in found.truths]
    rows += [(one.offset, str(one.reason)) for one in found.refusals]
    return sorted(rows)


def test_the_topic_tells_labels_from_events() -> None:
    """In the labels topic all records are labels, in any other all are events, whatever they hold."""
    both = [b'{"id": 1, "x": {"a": 1}, "y": true}', b'{"id": 1, "y": true}']
    assert kinds(decoder().decode(records(both, topic="labels"))) == [(10, "label"), (13, "label")]
    assert kinds(decoder().decode(records(both, topic="events"))) == [(10, "labelled event"), (13, "missing_features")]


MIXED = [
    (b'{"id": 1, "x": {"a": 1}}', "event"),
    (b'{"id": 1, "x": {"a": 1}, "y": true}', "labelled event"),
    (b'{"id": 1, "x": {}, "y": true}', "labelled event"),
    (b'{"id": 1, "y": true}', "label"),
    (b'{"id": 1, "y": 0, "ts": 1700000000000, "by": "ann"}', "label"),
    (b'{"id": 1, "y": "yes"}', "bad_label"),
    (b'{"id": "", "y": true}', "bad_id"),
    (b'{"y": true}', "missing_id"),
    (b'{"id": 1, "y": null}', "missing_features"),
    (b'{"id": 1}', "missing_features"),
    (b'{"id": 1, "id": 2, "y": true}', "repeated_key"),
    (b"{", "not_json"),
]


def test_in_one_topic_a_label_is_what_has_no_features() -> None:
    """In one topic a record without features that has a label is a label, all others are events."""
    mixed = decoder(labels="events")
    for raw, kind in MIXED:
        assert kinds(mixed.decode(records([raw], topic="events"))) == [(10, kind)]
    found = mixed.decode(records([raw for raw, _ in MIXED], topic="events"))
    assert kinds(found) == [(10 + 3 * number, kind) for number, (_, kind) in enumerate(MIXED)]
    assert [one.offset for one in found.refusals] == sorted(one.offset for one in found.refusals)
    assert (found.first_offset, found.next_offset) == (10, 1_000_000)
    assert found.payload(22) == MIXED[4][0]


MAPPED = {"fields": FieldsSpec(id="$.tx.id", y="$.fraud", x=("$.tx.amount", "$.country"))}
MAPPED_LINES = [
    (b'{"tx": {"id": 1, "amount": 5}}', "event"),
    (b'{"tx": {"id": 1, "amount": 5}, "fraud": true}', "labelled event"),
    (b'{"tx": {"id": 1}, "fraud": true}', "label"),
    (b'{"tx": {"id": 1, "amount": null}, "fraud": true}', "label"),
    (b'{"tx": {"id": 1}}', "missing_label"),
    (b'{"fraud": true}', "missing_id"),
]
CSV = {"fields": FieldsSpec(format="csv", columns=("id", "a", "b", "y"))}
CSV_LINES = [
    (b"k,1,,", "event"),
    (b"k,1,2,true", "labelled event"),
    (b"k,,,true", "label"),
    (b"k,,,", "missing_label"),
    (b"k,1,2", "not_csv"),
]


@pytest.mark.parametrize(("layout", "lines"), [(MAPPED, MAPPED_LINES), (CSV, CSV_LINES)], ids=["json", "csv"])
def test_one_topic_in_the_users_own_layout(layout: dict[str, Any], lines: list[tuple[bytes, str]]) -> None:
    """In a mapped layout, a record with a label whose features are all null is a label."""
    mixed = decoder(labels="events", **layout)
    for raw, kind in lines:
        assert kinds(mixed.decode(records([raw], topic="events"))) == [(10, kind)]
    found = mixed.decode(records([raw for raw, _ in lines], topic="events"))
    assert kinds(found) == [(10 + 3 * number, kind) for number, (_, kind) in enumerate(lines)]


@given(st.lists(st.sampled_from([raw for raw, _ in MIXED]), min_size=1, max_size=12))
def test_a_mixed_run_equals_its_records_one_by_one(lines: list[bytes]) -> None:
    """However a topic of both is cut into runs, each record becomes the same event, label or refusal."""
    mixed = decoder(labels="events")
    found = mixed.decode(records(lines, topic="events"))
    for number, raw in enumerate(lines):
        alone = mixed.decode(records([raw], topic="events"))
        offset = 10 + 3 * number
        for one, many in ((alone.events, found.events), (alone.truths, found.truths)):
            assert [plain(row) for row in one] == [plain(row) for row in many if row.offset == offset]
        assert [one.reason for one in alone.refusals] == [one.reason for one in found.refusals if one.offset == offset]


def plain(row: Event | LabelRecord) -> dict[str, Any]:
    """Return all but the record's place."""
    found: dict[str, Any] = msgspec.to_builtins(row)
    del found["offset"]
    return found


def test_labels_lie_where_the_events_parts_do_unless_told_otherwise() -> None:
    """Without `label_fields` id, ts and y are found where `fields` says; without either, under their names."""
    fields = FieldsSpec(format="csv", columns=("k", "at", "a", "t"), id="k", ts="at", y="t", group="a")
    assert label_layout(None, None) is None
    assert label_layout(fields, None) == LabelFieldsSpec(
        format="csv", columns=("k", "at", "a", "t"), id="k", ts="at", y="t"
    )
    given_ = LabelFieldsSpec(id="key")
    assert label_layout(fields, given_) is given_
