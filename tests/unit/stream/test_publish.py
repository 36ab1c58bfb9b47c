"""Reading events from files, stdin and river, and appending them to a stream."""

import io
import json
import math
import time
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from river import datasets
from typer.testing import CliRunner

from service.cli.app import app
from service.domain.specification.model import FieldsSpec
from service.domain.stream.events import DecodedRecords, Records, Task, TopicPartition
from service.domain.stream.position import Position
from service.errors import ConfigurationError, NotFoundError
from service.stream.decoding.csv_lines import CsvDecoder
from service.stream.decoding.envelope import EnvelopeDecoder
from service.stream.decoding.mapped import MappedDecoder
from service.stream.log.source import LogSink, LogSource
from service.stream.publish import RIVER_DATASETS, publish_events, read_events, repeat_events


def run(values: Sequence[bytes]) -> Records:
    """Decode the values as a learner would."""
    now = int(time.time() * 1000)
    return Records(TopicPartition("t", 0), range(len(values)), [now] * len(values), values, len(values))


def accepted(found: DecodedRecords) -> list[Any]:
    """Return the events; none may be refused."""
    assert not found.refusals
    return list(found.events)


def stored(path: Path, topic: str) -> list[bytes]:
    """Return everything in the topic, partition by partition."""
    source = LogSource(path)
    bounds = source.bounds([topic])
    source.assign(Position({at: found.start for at, found in bounds.items()}))
    wanted = sum(found.end - found.start for found in bounds.values())
    values: list[bytes] = []
    while len(values) < wanted:
        values += [value for one in source.poll(timeout_s=1, limit=1000) for value in one.values]
    source.close()
    return values


def test_json_lines_are_sent_as_they_are(tmp_path: Path) -> None:
    """Not a byte of a line changes, whatever it holds; empty lines are left out."""
    lines = [b'{"id": 1,  "x": {}}', b"no json", b'{"id":1,"id":2}', b"\xff\xfe"]
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\r\n\n".join(lines))
    assert list(read_events(str(file))) == lines


def test_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` reads JSON lines from standard input."""
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b'{"id":1}\n{"id":2}')))
    assert list(read_events("-")) == [b'{"id":1}', b'{"id":2}']


CSV = 'id,ts,amount,country,big,odd,y\n7,2023-11-14T22:13:20Z,1.5,DE,1_000,nan,true\n,,2,"a,b",3,,false\n'


def test_csv_becomes_envelopes(tmp_path: Path) -> None:
    """Columns become fields and features with their types; rows without an id get one from the file's name."""
    file = tmp_path / "tx.csv"
    file.write_text(CSV, encoding="utf-8-sig")
    first, second = accepted(EnvelopeDecoder(Task.BINARY).decode(run(list(read_events(str(file))))))
    assert (first.id, first.ts, first.y) == (7, 1_700_000_000_000, True)
    assert first.x == {"amount": 1.5, "country": "DE", "big": "1_000", "odd": None}
    assert (second.id, second.y) == ("tx-1", False)
    assert second.x == {"amount": 2, "country": "a,b", "big": 3, "odd": None}


def test_csv_for_a_model_that_reads_csv(tmp_path: Path) -> None:
    """Lines are sent as they are, without the header, and the model's own decoder accepts them."""
    file = tmp_path / "tx.csv"
    file.write_text("key,a,label\n1,2.5,true\n2,x,false\n", encoding="utf-8")
    fields = FieldsSpec(format="csv", columns=("key", "a", "label"), id="key", y="label")
    values = list(read_events(str(file), fields=fields))
    assert values == [b"1,2.5,true", b"2,x,false"]
    assert [event.x for event in accepted(CsvDecoder(fields, Task.BINARY).decode(run(values)))] == [
        {"a": 2.5},
        {"a": "x"},
    ]


def test_csv_for_a_model_with_a_layout_of_its_own(tmp_path: Path) -> None:
    """Rows are sent flat, so that the model's `fields` find their columns."""
    file = tmp_path / "tx.csv"
    file.write_text("key,a,label\n1,2.5,true\n", encoding="utf-8")
    fields = FieldsSpec(id="key", y="label", x="$")
    [event] = accepted(MappedDecoder(fields, Task.BINARY).decode(run(list(read_events(str(file), fields=fields)))))
    assert (event.id, event.x, event.y) == (1, {"a": 2.5}, True)


def test_parquet_becomes_envelopes(tmp_path: Path) -> None:
    """Times without a zone are taken as UTC, NaN is null, decimals are numbers."""
    table = pa.table(
        {
            "id": ["a", None],
            "ts": [datetime(2023, 11, 14, 22, 13, 20), None],  # noqa: DTZ001 - as Parquet keeps it
            "n": [math.nan, 2.0],
            "d": [Decimal("1.25"), None],
            "y": [1, 0],
        }
    )
    pq.write_table(table, tmp_path / "tx.parquet")
    first, second = accepted(EnvelopeDecoder(Task.BINARY).decode(run(list(read_events(str(tmp_path / "tx.parquet"))))))
    assert (first.id, first.ts, first.x) == ("a", 1_700_000_000_000, {"n": None, "d": 1.25})
    assert (second.id, second.x) == ("tx-1", {"n": 2.0, "d": None})


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("Phishing", Task.BINARY),
        ("Bananas", Task.BINARY),
        ("ImageSegments", Task.MULTICLASS),
        ("Shuttle", Task.MULTICLASS),
        ("SP500Stocks", Task.REGRESSION),
        ("ChickWeights", Task.REGRESSION),
        ("TrumpApproval", Task.REGRESSION),
    ],
)
def test_data_sets_inside_river(name: str, task: Task) -> None:
    """River's data sets arrive with their own features and labels, all of them acceptable."""
    values = list(islice(read_events(f"river:{name}"), 500))
    events = accepted(EnvelopeDecoder(task).decode(run(values)))
    rows = list(islice(getattr(datasets, name)(), 500))
    assert [event.y for event in events] == [y for _, y in rows]
    scalars = [{key: value for key, value in x.items() if isinstance(value, int | float | str)} for x, _ in rows]
    assert [event.x for event in events] == scalars
    assert len({event.id for event in events}) == len(rows)


def test_every_data_set_that_is_offered_is_there() -> None:
    """Each name that the message lists can be read without a download."""
    for name in RIVER_DATASETS:
        assert json.loads(next(read_events(f"river:{name}")))["id"] == f"{name}-0"


def test_unknown_names_bring_the_nearest(tmp_path: Path) -> None:
    """A mistyped data set or file is reported with the nearest one; an unknown kind with the known ones."""
    (tmp_path / "events.jsonl").touch()
    (tmp_path / "events.xlsx").touch()
    with pytest.raises(NotFoundError, match=r"river:Fishing \(did you mean Phishing\?\)"):
        read_events("river:Fishing")
    with pytest.raises(NotFoundError, match=r"did you mean events\.jsonl"):
        read_events(str(tmp_path / "event.jsonl"))
    with pytest.raises(NotFoundError, match="found no file"):
        read_events(str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"found events\.xlsx, expected a file that ends in"):
        read_events(str(tmp_path / "events.xlsx"))


def test_repeated_ids_are_distinct() -> None:
    """Later rounds get ids of their own, at the model's own path; what is no event stays as it is."""
    lines = [b'{"id": 1, "x": {"a": 1}}', b"broken", b'{"id":2,"id":2,"x":{}}', b'{"x":{}}']
    found = list(repeat_events(iter(lines), 3))
    assert found[:4] == lines
    assert [json.loads(found[number])["id"] for number in (4, 8)] == ["1#1", "1#2"]
    assert found[5:8] == found[9:12] == lines[1:]
    nested = list(repeat_events([b'{"tx":{"id":"a"}}', b'{"tx":5}'], 2, id_path="$.tx.id"))
    assert nested[2:] == [b'{"tx":{"id":"a#1"}}', b'{"tx":5}']


def test_rate_and_progress(tmp_path: Path) -> None:
    """No more events a second than requested are sent, in order, with every step reported."""
    sink = LogSink(tmp_path / "log.db")
    sink.create("t", partitions=1)
    told: list[int] = []
    began = time.monotonic()
    values = [b"%d" % number for number in range(100)]
    assert publish_events(sink, "t", values, rate=200, on_progress=told.append) == 100
    assert time.monotonic() - began >= 0.49
    sink.close()
    assert told == [20, 40, 60, 80, 100]
    assert stored(tmp_path / "log.db", "t") == values


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """Return a folder with a configuration made by `headrace init`."""
    result = CliRunner().invoke(app, ["init", "--config", str(tmp_path / "headrace.yaml")])
    assert result.exit_code == 0, result.output
    return tmp_path / "headrace.yaml"


def test_the_command(configuration: Path, tmp_path: Path) -> None:
    """`stream publish` sends a file twice under distinct ids, sends nothing that `--check` refuses, and says why."""
    settings = yaml.safe_load(configuration.read_text(encoding="utf-8"))
    model = settings["models"][0]
    log = configuration.parent / "var/log.db"
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text('{"id": 1, "x": {"a": 1}, "y": true}\n', encoding="utf-8")
    bad.write_text('{"id": 2, "x": {"a": 1}, "y": true}\n{"id": 3, "x": {"a": NaN}}\n', encoding="utf-8")

    def command(*arguments: str, text: str | None = None) -> Any:
        line = ["stream", "publish", model["name"], *arguments, "--config", str(configuration)]
        return CliRunner().invoke(app, line, input=text)

    refused = command(str(bad), "--check")
    assert refused.exit_code == 3
    assert "line 2: non_finite" in refused.output
    sent = command(str(good), "--check", "--repeat", "2")
    assert (sent.exit_code, "2 events are in" in sent.output) == (0, True), sent.output
    piped = command("-", "--check", text='{"id": 9, "x": {"a": 1}, "y": true}\n')
    assert (piped.exit_code, "1 events are in" in piped.output) == (0, True), piped.output
    assert [json.loads(value)["id"] for value in stored(log, model["events"])] == [1, "1#1", 9]
    wrong = command("river:Pishing")
    assert (wrong.exit_code, "did you mean Phishing" in wrong.output) == (1, True), wrong.output
