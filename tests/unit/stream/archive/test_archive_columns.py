"""What the archive returns is exactly what decoding the stream's records gives."""

import json
from itertools import pairwise
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.registry.archive import ArchivedTopic, ArchiveFileInfo
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import DecodedRecords, Event, Records, Task, TopicPartition
from service.ports.stream import Decoder
from service.stream.archive.range_file import ParquetOpenRange, read_archive_file
from service.stream.archive.rows import ArchiveRows, decode_chunk
from service.stream.archive.schema import dictionary_columns
from service.stream.decoding.factory import make_decoder

AT = TopicPartition("events", 0)
OF_LABELS = TopicPartition("labels", 0)
NOW = 1_700_000_000_000
END = 65_536

names = st.sampled_from(["a", "b", "c", "d.e", "", "é", "x" * 300, "n\0l"]) | st.text(max_size=3)
numbers = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**64), 2**64)
    | st.sampled_from([2**53, 0.0, -0.0])
)
scalars = numbers | st.text(max_size=4) | st.booleans() | st.none()
steady = st.fixed_dictionaries({"a": st.floats(-9, 9), "b": st.integers(-9, 9), "c": st.text(max_size=2)})
ids = st.integers(-(2**64), 2**64) | st.text(max_size=5) | st.booleans() | st.none()
labels = (
    st.booleans()
    | st.integers(-1, 2)
    | st.floats(-2, 2)
    | st.text(max_size=2)
    | st.none()
    | st.integers(2**63 - 1, 2**63)
)


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Draw records of the envelope, valid and invalid, uniform and mixed, with unknown members."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=20))
    wild = draw(st.integers(0, 3)) == 0
    x = draw(st.dictionaries(names, scalars, max_size=4) if wild else steady)
    found: dict[str, Any] = {"id": draw(ids if wild else st.integers(0, 10**6)), "x": x}
    optional = {
        "y": labels,
        "ts": st.integers(0, NOW) | st.just("2023-01-31T12:00:00Z"),
        "group": st.integers(-(2**64), 2**64) | st.text(max_size=3),
        "weight": st.floats(0.5, 2),
        "extra": st.just({"k": [1, ":"]}),
    }
    for name, values in optional.items():
        if draw(st.integers(0, 2)) == 0:
            found[name] = draw(values)
    return json.dumps(found).encode("utf-8", errors="surrogatepass")


def model(task: Task = Task.BINARY, **changes: Any) -> ModelSpec:
    """Return a model of the events topic."""
    return ModelSpec.model_validate({"name": "m", "task": task, "events": "events", "factory": "a:b", **changes})


def archived(spec: ModelSpec, runs: list[Records], *, raw: bool = False, rewrite: bool = False) -> bytes:
    """Return the file of these runs, rewritten after each if the range grows over restarts."""
    topic, decoder = ArchivedTopic(runs[0].at.topic, spec, raw), make_decoder(spec)
    facts, held, data = ArchiveFileInfo(runs[0].at, 0, END, (), 0, -1), None, b""
    range_ = ParquetOpenRange(topic, decoder, facts)
    for run in runs:
        range_.add(run)
        if rewrite:
            data = range_.to_bytes()
            facts, held = read_archive_file(data, "file")
            range_ = ParquetOpenRange(topic, decoder, facts, table=held)
    return range_.to_bytes()


def read(data: bytes, decoder: Decoder, *, columns: bool = True) -> list[DecodedRecords]:
    """Read all of the file."""
    rows = ArchiveRows.from_table(*read_archive_file(data, "file"))
    return [
        decode_chunk(chunk, rows.file_info, covered=(first, last), decoder=decoder, columns=columns)
        for first, last, chunk in rows.chunks_between(rows.file_info.first, rows.file_info.next)
    ]


def outcomes(found: list[DecodedRecords]) -> dict[int, str]:
    """Return the outcomes by offset, to the type of every value and the order of every key."""
    outcome: dict[int, str] = {}
    for one in found:
        for it in (*one.events, *one.truths, *one.refusals):
            outcome[it.offset] = repr(it)
    return outcome


def runs_of(values: list[bytes], cuts: list[int], *, at: TopicPartition = AT) -> list[Records]:
    """Cut the values into runs, with gaps between their offsets."""
    offsets = [2 * n + n // 5 for n in range(len(values))]
    stamps = [NOW + n % 7 for n in range(len(values))]
    borders = sorted({0, len(values), *[cut % (len(values) + 1) for cut in cuts]})
    found = []
    for a, b in pairwise(borders):
        after = offsets[b] if b < len(values) else offsets[-1] + 3
        found.append(Records(at, offsets[a:b], stamps[a:b], values[a:b], after))
    return found


@settings(max_examples=300, deadline=None)
@given(
    st.lists(documents(), min_size=1, max_size=30),
    st.lists(st.integers(0, 30), max_size=3),
    st.sampled_from(list(Task)),
    st.booleans(),
    st.booleans(),
)
def test_reading_equals_decoding(values: list[bytes], cuts: list[int], task: Task, raw: bool, rewrite: bool) -> None:
    """Ids, times, labels, groups, weights, features with their order and types, and refusals come back exactly."""
    spec, runs = model(task), runs_of(values, cuts)
    decoder = make_decoder(spec)
    expected = outcomes([decoder.decode(run) for run in runs])
    data = archived(spec, runs, raw=raw, rewrite=rewrite)
    found = read(data, decoder)
    assert outcomes(found) == expected
    assert all(one.first_offset <= it.offset < one.next_offset for one in found for it in one.events)
    if raw:
        assert outcomes(read(data, decoder, columns=False)) == expected


@st.composite
def told(draw: st.DrawFn) -> bytes:
    """Draw labels as records of their own, valid and invalid, in the envelope and in a layout of the user's."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=20))
    wild = draw(st.integers(0, 3)) == 0
    found: dict[str, Any] = {"id": draw(ids if wild else st.integers(0, 10**6)), "y": draw(labels)}
    if draw(st.booleans()):
        found["ts"] = draw(st.integers(0, NOW) | st.just("2023-01-31T12:00:00Z") | st.just("then"))
    if draw(st.integers(0, 3)) == 0:
        found["extra"] = {"k": [1, ":"]}
    if draw(st.integers(0, 9)) == 0:
        found["x"] = draw(st.just({}) | st.just({"a": 1}) | st.none())
    if draw(st.integers(0, 3)) == 0:
        found = {"tx": {"id": found.get("id"), "fraud": found.get("y")}, **found}
    return json.dumps(found).encode("utf-8", errors="surrogatepass")


LAYOUTS: dict[str, dict[str, Any]] = {
    "a topic of labels": {"labels": "labels"},
    "a topic of labels in a layout of its own": {
        "labels": "labels",
        "label_fields": {"id": "$.tx.id", "y": "$.tx.fraud"},
    },
    "a mixed topic": {"labels": "events"},
    "a mixed topic with mapped fields": {"labels": "events", "fields": {"id": "id", "x": "$.x", "y": "y", "ts": "ts"}},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=100, deadline=None)
@given(st.data(), st.lists(st.integers(0, 30), max_size=3), st.sampled_from(list(Task)), st.booleans(), st.booleans())
def test_reading_labels_equals_decoding(
    layout: str, data: st.DataObject, cuts: list[int], task: Task, raw: bool, rewrite: bool
) -> None:
    """Labels that are records of their own come back exactly, as do events between them and refusals of both."""
    spec = model(task, **LAYOUTS[layout])
    at = AT if spec.labels == spec.events else OF_LABELS
    values = data.draw(st.lists(told() | documents() if at == AT else told(), min_size=1, max_size=30))
    runs, decoder = runs_of(values, cuts, at=at), make_decoder(spec)
    expected = outcomes([decoder.decode(run) for run in runs])
    file = archived(spec, runs, raw=raw, rewrite=rewrite)
    found = read(file, decoder)
    assert outcomes(found) == expected
    assert all(one.first_offset <= it.offset < one.next_offset for one in found for it in one.truths)
    if raw:
        assert outcomes(read(file, decoder, columns=False)) == expected


@pytest.mark.parametrize("layout", ["a topic of labels", "a mixed topic"])
def test_steady_labels_need_no_bytes(layout: str) -> None:
    """Valid labels are stored in columns alone, and read back as labels, not as events without features."""
    spec = model(**LAYOUTS[layout])
    at = AT if spec.labels == spec.events else OF_LABELS
    values = [msgspec.json.encode({"id": n if n % 2 else f"i{n}", "y": n % 3 == 0, "ts": n}) for n in range(50)]
    file = archived(spec, runs_of(values, [], at=at))
    assert read_archive_file(file, "file")[1].column("raw").null_count == 50
    found = read(file, make_decoder(spec))
    assert sum(len(one.truths) for one in found) == 50
    assert not any(one.events or one.refusals for one in found)


def _event(number: int, **changes: Any) -> bytes:
    return msgspec.json.encode({"id": number, "x": {"a": 0.5, "b": 1, "c": "k"}, "y": True, **changes})


def _table(values: list[bytes], **options: Any) -> Any:
    return read_archive_file(archived(model(), runs_of(values, []), **options), "file")[1]


def test_a_steady_stream_needs_no_bytes() -> None:
    """Records of one layout are stored in columns alone, mixed integers and floats too."""
    values = [_event(n, x={"a": n % 2 or 0.5, "b": n, "c": "k"}) for n in range(50)]
    assert _table(values).column("raw").null_count == 50


@pytest.mark.parametrize(
    "odd",
    [
        b"{",
        _event(1, x={"b": 1, "a": 0.5, "c": "k"}),
        _event(1, x={"a": "text", "b": 1, "c": "k"}),
        _event(1, x={"a": 2**60, "b": 1, "c": "k"}),
        _event(1, extra=1),
        _event(1, extra={"ts": ":"}),
    ],
)
def test_what_does_not_fit_is_kept_with_its_bytes(odd: bytes) -> None:
    """`raw` keeps records that are refused, have another order or type, large integers or unknown members."""
    kept = _table([_event(0), odd, _event(2)]).column("raw").to_pylist()
    assert kept == [None, odd, None]


def test_raw_always_keeps_every_record() -> None:
    """With `raw: always` every record's bytes are kept beside its columns."""
    values = [_event(0), b"{", _event(2)]
    table = _table(values, raw=True)
    assert table.column("raw").to_pylist() == values
    assert table.column("id_number").to_pylist() == [0, None, 2]


def test_a_layout_is_the_fields_not_the_envelopes() -> None:
    """If `fields` maps the layout, unknown members are no part of an event and are not kept."""
    spec = model(fields={"id": "$.k", "x": ["$.a"], "y": "$.fraud"})
    values = [msgspec.json.encode({"k": n, "a": 1.5, "fraud": 1, "other": "o"}) for n in range(4)]
    facts, table = read_archive_file(archived(spec, runs_of(values, [])), "file")
    assert table.column("raw").null_count == facts.records == 4
    assert isinstance(read(archived(spec, runs_of(values, [])), make_decoder(spec))[0].events[0], Event)


def test_columns_whose_values_recur_are_dictionaries() -> None:
    """Columns whose values recur are written with a dictionary, and others without one, which would only cost space."""
    rows = 6000
    x = pa.StructArray.from_arrays(
        [pa.array(n / 7 for n in range(rows)), pa.array(n % 5 / 7 for n in range(rows))],
        names=["distinct", "recurring"],
    )
    texts = [f"id-{n}" for n in range(rows)]
    table = pa.table({"offset": range(rows), "id_text": texts, "y": [n % 2 == 0 for n in range(rows)], "x": x})
    assert dictionary_columns(table) == ["y", "x.recurring"]
    assert dictionary_columns(table.slice(0, 0)) == ["id_text", "y", "x.distinct", "x.recurring"]
