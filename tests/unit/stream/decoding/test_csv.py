"""Records that are CSV lines."""

import csv
import io
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.specification.model import FieldsSpec
from service.domain.stream.events import DecodedRecords, Event, Records, RefusalReason, Task, TopicPartition
from service.errors import ConfigurationError
from service.stream.decoding.csv_lines import CsvDecoder

NOW = 1_700_000_000_000
COLUMNS = ("id", "ts", "a", "b", "y", "weight")
FIELDS = FieldsSpec(format="csv", columns=COLUMNS)


def decode(*values: bytes, task: Task = Task.BINARY, fields: FieldsSpec = FIELDS) -> DecodedRecords:
    """Decode the lines."""
    run = Records(TopicPartition("t", 0), range(len(values)), [NOW] * len(values), values, len(values))
    return CsvDecoder(fields, task, max_event_bytes=2000).decode(run)


def test_a_line_is_an_event() -> None:
    """Cells become numbers, booleans, text or null; every column that is no other field is a feature."""
    found = decode(b'e1,2023-11-14T22:13:20Z, 1.5 ,"x, y",true,2', b"2,,1,,,", b"3,1700000000000,TRUE,-1e3,0,\r\n")
    assert list(found.events) == [
        Event(0, "e1", NOW, {"a": 1.5, "b": "x, y"}, y=True, weight=2.0),
        Event(1, "2", NOW, {"a": 1, "b": None}),
        Event(2, "3", NOW, {"a": True, "b": -1000.0}, y=False),
    ]


def test_chosen_columns() -> None:
    """`x` picks and names the feature columns; other fields may have other names."""
    fields = FieldsSpec(format="csv", columns=("k", "p", "q", "r"), id="k", y="r", x={"first": "p"})
    assert decode(b"7,1,2,1", fields=fields).events[0] == Event(0, "7", NOW, {"first": 1}, y=True)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", RefusalReason.NOT_CSV),
        (b"1,2", RefusalReason.NOT_CSV),
        (b"1,2,3,4,5,6,7", RefusalReason.NOT_CSV),
        (b'"1,2,3,4,5,6', RefusalReason.NOT_CSV),
        (b"1,,3,4,1,\n2,,3,4,1,", RefusalReason.NOT_CSV),
        (b"1,,\xff,4,1,", RefusalReason.NOT_CSV),
        (",".join(COLUMNS).encode(), RefusalReason.NOT_CSV),
        (b",,3,4,1,", RefusalReason.MISSING_ID),
        (b"i" * 129 + b",,3,4,1,", RefusalReason.BAD_ID),
        (b"1,noon,3,4,1,", RefusalReason.BAD_TIME),
        (b"1,2099-01-01T00:00:00Z,3,4,1,", RefusalReason.FUTURE_TIME),
        (b"1,,NaN,4,1,", RefusalReason.NON_FINITE),
        (b"1,,-Infinity,4,1,", RefusalReason.NON_FINITE),
        (b"1,,1e999,4,1,", RefusalReason.NON_FINITE),
        (b"1,," + b"9" * 399 + b",4,1,", RefusalReason.MAGNITUDE),
        (b"1,,3,4,perhaps,", RefusalReason.BAD_LABEL),
        (b"1,,3,4,1,-1", RefusalReason.BAD_WEIGHT),
        (b"1,," + b"t" * 2000 + b",4,1,", RefusalReason.TOO_LARGE),
    ],
    ids=str,
)
def test_refused_with_its_reason(raw: bytes, reason: RefusalReason) -> None:
    """A line that is no event is refused for its own reason, and its neighbours are read."""
    found = decode(b"1,,3,4,1,", raw, b"2,,3,4,0,")
    assert [(refusal.offset, refusal.reason, refusal.payload) for refusal in found.refusals] == [(1, reason, raw)]
    assert [kept.id for kept in found.events] == ["1", "2"]


def test_text_may_hold_what_only_unicode_calls_a_line_end() -> None:
    """A record is one line by CSV's ends of line, not by Unicode's."""
    assert decode("1,,a\u2028b,c\x85d,1,".encode()).events[0].x == {"a": "a\u2028b", "b": "c\x85d"}


def test_a_quoted_cell_may_hold_line_ends() -> None:
    """Quotes keep a line end inside a cell."""
    assert decode(b'1,,"a\nb",4,1,').events[0].x == {"a": "a\nb", "b": 4}


@pytest.mark.parametrize("columns", [(), None, ("id", "a", "a")])
def test_columns_must_be_known(columns: tuple[str, ...] | None) -> None:
    """Without distinct columns the configuration is refused."""
    with pytest.raises(ConfigurationError, match=re.escape("fields.columns")):
        CsvDecoder(FieldsSpec(format="csv", columns=columns), Task.BINARY)


def test_an_unknown_feature_column_is_named() -> None:
    """The message names what was found and what there is."""
    with pytest.raises(ConfigurationError, match="found 'z', expected one of"):
        CsvDecoder(FieldsSpec(format="csv", columns=COLUMNS, x=("z",)), Task.BINARY)


cells = st.one_of(st.text(max_size=8), st.integers().map(str), st.floats().map(str), st.sampled_from(["", "true", '"']))


def line(row: list[str]) -> bytes:
    """A row as the standard library writes it."""
    text = io.StringIO()
    csv.writer(text).writerow(row)
    return text.getvalue().encode("utf-8", "surrogatepass")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(cells, min_size=5, max_size=7).map(line) | st.binary(max_size=30), max_size=6))
def test_one_event_or_one_refusal(values: list[bytes]) -> None:
    """Arbitrary rows and bytes never raise, and accepted features are finite scalars."""
    found = decode(*values)
    offsets = sorted([kept.offset for kept in found.events] + [refusal.offset for refusal in found.refusals])
    assert offsets == list(range(len(values)))
    for kept in found.events:
        assert all(not isinstance(value, float) or math.isfinite(value) for value in kept.x.values())


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=30))
def test_text_survives(text: str) -> None:
    """A cell that is neither number nor word arrives as it was written."""
    found = decode(line(["1", "", f"t{text}", "4", "", ""]))
    assert not found.refusals
    if f"t{text}".strip().lower() != "true":
        assert found.events[0].x["a"] == f"t{text}"
