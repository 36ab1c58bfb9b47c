"""A CSV cell is read by one rule, in the stream and in requests."""

import csv
import io
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.domain.specification.model import FieldsSpec, GuardSpec
from service.domain.stream.csv_cell import cell_value
from service.domain.stream.events import Records, RefusalReason, Scalar, Task, TopicPartition
from service.learning.guard.guard import FeatureGuard
from service.learning.guard.prediction_guard import PredictionGuard
from service.serving.predictions.request_bodies import parse_prediction_body
from service.stream.decoding.csv_lines import CsvDecoder

NOW = 1_700_000_000_000
DECODER = CsvDecoder(FieldsSpec(format="csv", columns=("id", "a")), Task.BINARY)
NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.from_regex(r"[+-]?[0-9]*\.?[0-9]*([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.text("0123456789\u0660\u0661\u0662\u0663\uff14\uff15६७_+-.eE ", max_size=12),
    st.sampled_from(
        ["nan", "-Infinity", "inf", "true", "FALSE", "1_000", "\u0663", "\uff13", "²", "½", "0x10", "1e999", ""]
    ),
)
CELLS = st.one_of(NUMBERS, st.text(max_size=20)).flatmap(
    lambda cell: st.sampled_from([cell, f" {cell}", f"{cell}\t", f"\u00a0{cell} "])
)


def line(*cells: str) -> bytes:
    """Return the cells as one line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue().encode()


def learned(cell: str) -> Scalar | RefusalReason:
    """Return what the stream reads, or why it refuses."""
    run = Records(TopicPartition("t", 0), [0], [NOW], [line("e", cell)], 1)
    found = DECODER.decode(run)
    return found.events[0].x["a"] if found.events else found.refusals[0].reason


def predicted(cell: str) -> Scalar | RefusalReason:
    """Return what a server reads, or why it refuses."""
    judgement = PredictionGuard(FeatureGuard(GuardSpec()))
    value = parse_prediction_body("text/csv", line("b", "a") + b"\n" + line("0", cell), judgement).xs[0]["a"]
    faults = [one for one in judgement.faults({"a": value}) if value is not None]
    size = [one.reason for one in faults if one.reason in {RefusalReason.NON_FINITE, RefusalReason.MAGNITUDE}]
    return size[0] if size else value


def same(one: Scalar | RefusalReason, other: Scalar | RefusalReason) -> bool:
    """Return whether type and value are equal."""
    return type(one) is type(other) and one == other


@given(CELLS.filter(lambda cell: not set(cell) & set("\r\n\0")))
@example("\u0663")
@example("1" * 30)
@example("1" * 401)
@example("9223372036854775808")
def test_what_is_learned_is_what_is_predicted(cell: str) -> None:
    """Stream and server read the same value of the same type from a cell, or refuse it for the same reason."""
    on_stream, in_request = learned(cell), predicted(cell)
    if in_request is RefusalReason.MAGNITUDE and isinstance(on_stream, int | float):
        # The guard's limit on magnitude, which it sets on events of the stream as well, once they are decoded.
        assert abs(on_stream) > GuardSpec().max_magnitude
    else:
        assert same(on_stream, in_request), (on_stream, in_request)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("3", 3),
        (" -3 ", -3),
        ("+007", 7),
        ("3.0", 3.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("TRUE", True),
        ("false ", False),
        ("", None),
        ("  ", None),
        ("\u0663", "\u0663"),
        ("\uff13", "\uff13"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        (" text ", " text "),
        ("-", "-"),
        ("1" * 400, int("1" * 400)),
        ("1" * 401, math.inf),
    ],
)
def test_the_rule(cell: str, value: Scalar) -> None:
    """A cell is a number in ASCII, true or false in any case, None if blank, and text otherwise."""
    assert same(cell_value(cell), value)
