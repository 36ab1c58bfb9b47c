"""The envelope's decoder gives one event or one refusal for each record, whatever the bytes."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.stream.events import DecodedRecords, Event, Records, RefusalReason, Task, TopicPartition
from service.stream.decoding.envelope import EnvelopeDecoder

AT = TopicPartition("t", 0)
NOW = 1_700_000_000_000
LIMIT = 2000
LAST_MS = 253_402_300_799_999


def records(values: Sequence[bytes], *, now: int = NOW) -> Records:
    """Return a run with gaps between its offsets."""
    offsets = [10 + 3 * number for number in range(len(values))]
    return Records(AT, offsets, [now] * len(values), values, 1_000_000)


def decode(values: Sequence[bytes], task: Task = Task.BINARY, *, now: int = NOW) -> DecodedRecords:
    """Decode the run at once."""
    return EnvelopeDecoder(task, max_event_bytes=LIMIT).decode(records(values, now=now))


def one(raw: bytes, task: Task = Task.BINARY, *, now: int = NOW) -> Event | RefusalReason:
    """Decode a single record."""
    found = decode([raw], task, now=now)
    assert len(found.events) + len(found.refusals) == 1
    return found.events[0] if found.events else found.refusals[0].reason


def outcomes(found: DecodedRecords) -> list[Any]:
    """Return events and refusals together, in offset order."""
    rows = [(event.offset, msgspec.to_builtins(event)) for event in found.events]
    rows += [(refusal.offset, refusal.reason) for refusal in found.refusals]
    return sorted(rows, key=lambda row: row[0])


class Oracle:
    """The same rules over the standard library's parser, without any of the decoder's code."""

    def __init__(self, task: Task, now: int) -> None:
        self._task = task
        self._now = now

    def judge(self, raw: bytes) -> bool:
        """Return whether these bytes are an event."""
        if len(raw) > LIMIT:
            return False
        try:
            text = raw.decode("utf-8")
            text.encode()
            found = json.loads(text, object_pairs_hook=self._distinct, parse_constant=self._refuse)
            json.dumps(found, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            return False
        return isinstance(found, dict) and self._finite(found) and self._parts(found)

    def _parts(self, found: dict[str, Any]) -> bool:
        checks = {"y": self._y, "group": self._group, "weight": self._weight, "ts": self._ts}
        optional = all(check(found[name]) for name, check in checks.items() if found.get(name) is not None)
        return optional and self._id(found.get("id")) and self._x(found.get("x"))

    def _finite(self, value: Any) -> bool:
        if isinstance(value, dict):
            return all(map(self._finite, value.values()))
        if isinstance(value, list):
            return all(map(self._finite, value))
        return not isinstance(value, float) or math.isfinite(value)

    def _id(self, value: Any) -> bool:
        if isinstance(value, str):
            return 0 < len(value.encode()) <= 128
        return type(value) is int and -(2**63) <= value < 2**63

    def _x(self, value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        big = [one for one in value.values() if type(one) is int and abs(one) > 2**63]
        return not big and not any(isinstance(one, dict | list) for one in value.values())

    def _y(self, value: Any) -> bool:
        if self._task is Task.BINARY:
            return isinstance(value, bool) or (type(value) is int and value in {0, 1})
        integer = type(value) is int and abs(value) <= 2**63
        return integer or isinstance(value, float if self._task is Task.REGRESSION else str | bool)

    def _group(self, value: Any) -> bool:
        return isinstance(value, str) or type(value) is int

    def _weight(self, value: Any) -> bool:
        return type(value) in {int, float} and 0 < value < 2**63

    def _ts(self, value: Any) -> bool:
        if isinstance(value, str):
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                return False
            if moment.tzinfo is None:
                return False
            value = int(moment.astimezone(UTC).timestamp() * 1000)
        return type(value) is int and abs(value) <= LAST_MS and value <= self._now + 3_600_000

    @staticmethod
    def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            msg = "a repeated key"
            raise ValueError(msg)
        return found

    @staticmethod
    def _refuse(token: str) -> Any:
        raise ValueError(token)


def event(**changes: Any) -> bytes:
    """Return a valid event with some of its members changed; `...` leaves one out."""
    members = {"id": 1, "x": {"a": 1.5}, "y": True} | changes
    return json.dumps({key: value for key, value in members.items() if value is not ...}).encode()


REFUSED = [
    (b"", RefusalReason.NOT_JSON),
    (b"\x00\xff", RefusalReason.NOT_JSON),
    (b'{"id": 1, "x": {}', RefusalReason.NOT_JSON),
    (b'{"id": 1, "x": {"a": "\xff"}}', RefusalReason.NOT_JSON),
    (b'{"id": "\\ud800", "x": {}}', RefusalReason.NOT_JSON),
    (b'{"id": 1, "x": {"a": 1}} trailing', RefusalReason.NOT_JSON),
    (b'{"id": 1, "x": ' + b"[" * 900, RefusalReason.NOT_JSON),
    (b'{"id": 1, "x": ' + b'{"a":' * 150 + b"1" + b"}" * 150 + b"}", RefusalReason.NOT_JSON),
    (b"[1, 2]", RefusalReason.NOT_AN_OBJECT),
    (b"null", RefusalReason.NOT_AN_OBJECT),
    (b'"text"', RefusalReason.NOT_AN_OBJECT),
    (b'{"id": 1, "id": 2, "x": {"a": 1}}', RefusalReason.REPEATED_KEY),
    (b'{"id": 1, "x": {"a": 1, "a": 1}}', RefusalReason.REPEATED_KEY),
    (b'{"id": 1, "x": {"a": 1, "\\u0061": 2}}', RefusalReason.REPEATED_KEY),
    (b'{"id": 1, "x": {"a": ":", "b": "\\u003a", "b": 2}}', RefusalReason.REPEATED_KEY),
    (b'{"id": 1, "x": {"a": "\\u003a", "a": "\\u003a"}}', RefusalReason.REPEATED_KEY),
    (b'{"id": 1, "x": {"a": "\\"b\\":1", "b": 1, "b": 2}}', RefusalReason.REPEATED_KEY),
    (b'{"id": 1, "x": {"a": 1}, "extra": {"k": 1, "k": 2}}', RefusalReason.REPEATED_KEY),
    (b'{"id": 1, "x": {"a": 1}, "extra": [{"k": 1, "k": 2}]}', RefusalReason.REPEATED_KEY),
    (event(id=...), RefusalReason.MISSING_ID),
    (event(id=None), RefusalReason.MISSING_ID),
    (event(id=""), RefusalReason.BAD_ID),
    (event(id="i" * 129), RefusalReason.BAD_ID),
    (event(id="ä" * 65), RefusalReason.BAD_ID),
    (event(id=2**63), RefusalReason.BAD_ID),
    (event(id=-(2**63) - 1), RefusalReason.BAD_ID),
    (event(id=True), RefusalReason.BAD_ID),
    (event(id=1.0), RefusalReason.BAD_ID),
    (event(id=[1]), RefusalReason.BAD_ID),
    (event(ts="yesterday"), RefusalReason.BAD_TIME),
    (event(ts="2023-11-14T22:13:20"), RefusalReason.BAD_TIME),
    (event(ts=1.5), RefusalReason.BAD_TIME),
    (event(ts=True), RefusalReason.BAD_TIME),
    (event(ts=10**18), RefusalReason.BAD_TIME),
    (event(ts=-(10**18)), RefusalReason.BAD_TIME),
    (event(ts=10**40), RefusalReason.BAD_TIME),
    (event(ts=NOW + 3_600_001), RefusalReason.FUTURE_TIME),
    (event(ts="2099-01-01T00:00:00Z"), RefusalReason.FUTURE_TIME),
    (event(x=...), RefusalReason.MISSING_FEATURES),
    (event(x=None), RefusalReason.MISSING_FEATURES),
    (event(x=[1, 2]), RefusalReason.NON_SCALAR_FEATURE),
    (event(x="text"), RefusalReason.NON_SCALAR_FEATURE),
    (event(x={"a": [1]}), RefusalReason.NON_SCALAR_FEATURE),
    (event(x={"a": {}}), RefusalReason.NON_SCALAR_FEATURE),
    (event(x={"a": math.nan}), RefusalReason.NON_FINITE),
    (event(x={"a": -math.inf}), RefusalReason.NON_FINITE),
    (b'{"id": 1, "x": {"a": 1e999}}', RefusalReason.NON_FINITE),
    (event(x={"a": 2**63 + 1}), RefusalReason.MAGNITUDE),
    (event(x={"a": -(10**30)}), RefusalReason.MAGNITUDE),
    (b'{"id": 1, "x": {"a": ' + b"9" * 1500 + b"}}", RefusalReason.MAGNITUDE),
    (event(y="false"), RefusalReason.BAD_LABEL),
    (event(y=2), RefusalReason.BAD_LABEL),
    (event(y=1.0), RefusalReason.BAD_LABEL),
    (event(y=[True]), RefusalReason.BAD_LABEL),
    (event(group=True), RefusalReason.BAD_GROUP),
    (event(group=1.5), RefusalReason.BAD_GROUP),
    (event(group={}), RefusalReason.BAD_GROUP),
    (event(weight=0), RefusalReason.BAD_WEIGHT),
    (event(weight=-1), RefusalReason.BAD_WEIGHT),
    (event(weight="2"), RefusalReason.BAD_WEIGHT),
    (event(weight=True), RefusalReason.BAD_WEIGHT),
    (event(weight=2**64), RefusalReason.BAD_WEIGHT),
    (event(weight=math.nan), RefusalReason.NON_FINITE),
    (event(x={"a": "b" * LIMIT}), RefusalReason.TOO_LARGE),
]


@pytest.mark.parametrize(("raw", "reason"), REFUSED, ids=lambda case: str(case)[:50])
def test_refused_with_its_reason(raw: bytes, reason: RefusalReason) -> None:
    """A record that is no event is refused for its own reason, alone and among good ones."""
    assert one(raw) == reason
    found = decode([event(id=0), raw, event(id=2)])
    assert [kept.offset for kept in found.events] == [10, 16]
    assert [(refusal.offset, refusal.reason, refusal.payload) for refusal in found.refusals] == [(13, reason, raw)]


@pytest.mark.parametrize(
    "raw",
    [
        event(x={}),
        event(x={"a": None, "b": "text", "c": False, "d": -(2**63), "e": 1e300}),
        event(x={"url": "http://a:80/", "a:b": 1, '"': '":'}),
        event(id="i" * 128, group="g", weight=0.5),
        event(id=-(2**63), group=7, weight=3),
        event(extra={"nested": [1, {"a": 1}]}),
        event(ts=-1),
        event(ts=NOW + 3_600_000),
        event(ts="2023-11-14T22:13:20.5+02:00"),
        event(ts=None, y=None, group=None, weight=None),
        event(y=1),
    ],
)
def test_accepted(raw: bytes) -> None:
    """Whatever the envelope allows becomes an event."""
    assert isinstance(one(raw), Event)


@pytest.mark.parametrize(
    ("task", "accepted", "refused"),
    [
        (Task.BINARY, [True, False, 0, 1], ["false", "1", 2, 0.0, -1]),
        (Task.MULTICLASS, ["a", "", True, 3, -4], [1.0, [1], {}]),
        (Task.REGRESSION, [1, -2.5, 0, 1e300], ["1.0", True, False, [1.0]]),
    ],
)
def test_labels_are_strict(task: Task, accepted: list[Any], refused: list[Any]) -> None:
    """A label has the type that the task needs, or the event is refused."""
    for y in accepted:
        found = one(event(y=y), task)
        assert isinstance(found, Event)
        assert found.y == y
    assert {one(event(y=y), task) for y in refused} == {RefusalReason.BAD_LABEL}


def test_a_binary_label_is_a_boolean() -> None:
    """1 and 0 become true and false, so that a model never sees two names of one class."""
    found = decode([event(id=number, y=y) for number, y in enumerate([1, 0, True, False])])
    assert [type(kept.y) for kept in found.events] == [bool] * 4
    assert [type(kept.y) for kept in decode([event(y=1), event(y=0)]).events] == [bool] * 2


def test_times() -> None:
    """RFC 3339 becomes epoch milliseconds; without a time the record's own counts."""
    found = decode([event(ts="2023-11-14T22:13:20Z"), event(ts="2023-11-15T00:13:20.001+02:00"), event()])
    assert [kept.ts for kept in found.events] == [NOW, NOW + 1, NOW]


def test_a_record_without_a_timestamp_has_no_future() -> None:
    """If the stream gives no time (-1), an event's own time cannot be too late."""
    assert isinstance(one(event(ts=NOW), now=-1), Event)


def test_an_absurd_timestamp_of_the_record_widens_no_limit() -> None:
    """However late the stream's own timestamp is, an event's time stays within what a date can say."""
    assert one(event(ts=LAST_MS + 1), now=2**60) == RefusalReason.BAD_TIME
    assert len(decode([event(id=n, ts=LAST_MS + 1) for n in range(9)], now=2**60).refusals) == 9


def test_many_keys_are_read_in_linear_time() -> None:
    """A hundred thousand keys with one repeated among them are refused at once."""
    raw = b'{"id":1,"x":{' + b",".join(b'"k%d":1' % (number % 99_999) for number in range(100_000)) + b"}}"
    found = EnvelopeDecoder(Task.BINARY, max_event_bytes=10_000_000).decode(records([raw]))
    assert [refusal.reason for refusal in found.refusals] == [RefusalReason.REPEATED_KEY]


@pytest.mark.parametrize("depth", [90, 120, 300, 480, 600, 900, 5000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_of_any_depth(depth: int, opening: bytes, closing: bytes) -> None:
    """However deep a record is nested, it is refused by its depth alone and raises nothing."""
    raw = b'{"id":1,"x":{"a":' + opening * depth + b"1" + closing * depth + b"}}"
    found = EnvelopeDecoder(Task.BINARY).decode(records([raw]))
    expected = RefusalReason.NON_SCALAR_FEATURE if depth < 100 else RefusalReason.NOT_JSON
    assert [refusal.reason for refusal in found.refusals] == [expected]


def test_an_empty_run() -> None:
    """A run of nothing but gaps has no events and keeps its position."""
    found = decode([])
    assert (found.events, found.refusals, found.next_offset) == ([], [], 1_000_000)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=9),
    st.sampled_from(["", ":", '"', '":', "\\", "\u2028", "false", "1.0", "2023-11-14T22:13:20Z", "i" * 129]),
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["id", "x", "ts", "y", "group", "weight", "a", "b:", '"', "\\u0061"])
members = {
    "id": st.one_of(st.integers(), st.text(min_size=1, max_size=40), scalars),
    "x": st.one_of(st.dictionaries(st.text(max_size=3), scalars, max_size=4), trees),
    "ts": st.one_of(st.integers(NOW - 10**6, NOW + 10**7), st.datetimes().map(str), scalars),
    "y": st.one_of(st.booleans(), scalars),
    "group": scalars,
    "weight": scalars,
}


def written(pairs: list[tuple[str, Any]]) -> bytes:
    """Write members as they come, so that a key may be repeated."""
    return ("{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs) + "}").encode()


envelopes = st.fixed_dictionaries(
    {"id": members["id"], "x": members["x"]},
    optional={name: members[name] for name in ("ts", "y", "group", "weight")},
)
raws = st.one_of(
    envelopes.map(lambda found: json.dumps(found, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    envelopes.map(lambda found: written([*found.items(), *found["x"].items()] if isinstance(found["x"], dict) else [])),
    st.lists(st.tuples(names, scalars), max_size=6).map(written),
    trees.map(lambda tree: json.dumps(tree).encode()),
    st.binary(max_size=40),
    st.tuples(envelopes, st.integers(0, 60), st.binary(max_size=2)).map(
        lambda cut: written(list(cut[0].items()))[: cut[1]] + cut[2]
    ),
)
good = st.integers(0, 10**6).map(lambda number: event(id=number))


@settings(max_examples=400, deadline=None)
@given(st.lists(raws | good, max_size=12), st.sampled_from(Task))
def test_a_run_equals_its_records_one_by_one_and_an_independent_oracle(values: list[bytes], task: Task) -> None:
    """Every record becomes one event or one refusal, the same in a run as alone, as the oracle says."""
    found = decode(values, task)
    alone = [outcomes(decode([raw], task))[0][1] for raw in values]
    assert [offset for offset, _ in outcomes(found)] == list(records(values).offsets)
    together = [{**made, "offset": 10} if isinstance(made, dict) else made for _, made in outcomes(found)]
    assert together == alone
    assert [isinstance(made, dict) for made in alone] == [Oracle(task, NOW).judge(raw) for raw in values]
    assert [kept.offset for kept in found.events] == sorted(kept.offset for kept in found.events)


@settings(max_examples=200, deadline=None)
@given(st.lists(envelopes, min_size=1, max_size=8))
def test_an_accepted_event_says_what_was_written(written_events: list[dict[str, Any]]) -> None:
    """Features, id and label of an accepted event equal the standard library's reading, types included."""
    values = [json.dumps(found).encode() for found in written_events]
    for kept in decode(values, Task.MULTICLASS).events:
        wanted = json.loads(values[(kept.offset - 10) // 3])
        assert repr(kept.x) == repr(wanted["x"])
        assert (kept.id, kept.y, kept.group) == (wanted["id"], wanted.get("y"), wanted.get("group"))


@pytest.mark.parametrize("bad_at", [0, 63, 64, 150, 199])
def test_one_bad_record_in_a_long_run(bad_at: int) -> None:
    """Wherever it stands in the run, only the bad record is refused."""
    for raw, _ in REFUSED[:40]:
        values = [event(id=number) for number in range(200)]
        values[bad_at] = raw
        found = decode(values)
        assert [refusal.offset for refusal in found.refusals] == [10 + 3 * bad_at]
        assert [kept.id for kept in found.events] == [number for number in range(200) if number != bad_at]
