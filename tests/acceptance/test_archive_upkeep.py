"""Retention, verification, gaps and older history of the archive."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pyarrow.parquet as pq
import pytest

from service.domain.stream.events import TopicPartition
from service.errors import BelowStartError, NotFoundError
from service.stream.archive.range_file import read_archive_file, to_parquet
from service.stream.log import source as log
from tests.acceptance.harness import PHISHING, Deployment, phishing_events
from tests.acceptance.test_archive import files_of, require_whole

AT = TopicPartition(PHISHING["events"], 0)


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    """A thousand events, learned and archived in ten files."""
    found = Deployment(tmp_path / "kept", archive={"range": 100})
    found.publish(phishing_events(1000))
    return found


def firsts(deployment: Deployment) -> list[int]:
    """The first offsets of the files that are there."""
    return [int(path.stem) for path in files_of(deployment)]


def prune(deployment: Deployment) -> str:
    """What became of the partition, with all of its records past the age or the size."""
    deployment.archive = {"keep": "1s", **deployment.archive}
    deployment.configure()
    time.sleep(1.2)
    told: dict[str, str] = json.loads(deployment.command("registry", "prune", "--json").stdout)
    return told[f"archive {AT.topic}[0]"]


def test_retention_stops_where_a_version_begins(deployment: Deployment) -> None:
    """Old files stay while the champion's newest version or a named one needs them, and `prune` says which does."""
    deployment.command("learn", "--until-end")
    deployment.command("archive", "--until-end")
    assert firsts(deployment) == [*range(0, 1000, 100)]
    assert "version 1 of phishing" in prune(deployment)
    deployment.command("model", "snapshot", "phishing", "--as", "sale")
    deployment.archive = {"range": 100}
    deployment.configure()
    deployment.publish(phishing_events(1500)[1000:])
    deployment.command("learn", "--until-end")
    deployment.command("archive", "--until-end")
    deployment.command("model", "snapshot", "phishing")
    assert "which is called sale" in prune(deployment)
    assert firsts(deployment) == [*range(1000, 1500, 100)]
    with deployment.app() as app:
        (row,) = app.registry.archives.list()
        assert (row.first, row.next, row.records) == (1000, 1500, 500)
        assert row.bytes == sum(path.stat().st_size for path in files_of(deployment))
        archive = app.services.streams.archive(app.spec("phishing"))
        assert sum(len(one.events) for one in archive.read(AT, 1000, 1500)) == 500
        with pytest.raises(BelowStartError, match="retention"):
            list(archive.read(AT, 999, 1500))
        with pytest.raises(NotFoundError, match="1500"):
            list(archive.read(AT, 1400, 1501))
    assert deployment.command("registry", "verify").returncode == 0


def test_size_is_kept_too(deployment: Deployment) -> None:
    """Where nobody needs history, the oldest files go until the archive is small enough."""
    deployment.command("archive", "--until-end")
    before = sum(path.stat().st_size for path in files_of(deployment))
    deployment.archive = {"range": 100, "keep": "1d", "max_bytes": "40kB"}
    prune(deployment)
    after = sum(path.stat().st_size for path in files_of(deployment))
    assert after <= 40_000 < before
    assert firsts(deployment)[-1] == 900


def _rewritten(path: Path, change: Callable[[Any], Any]) -> None:
    facts, table = read_archive_file(path.read_bytes(), path.name)
    table = change(table)
    path.write_bytes(to_parquet(table, replace(facts, records=table.num_rows)))


def _altered(table: Any) -> Any:
    return table.set_column(table.column_names.index("weight"), "weight", [[2.0] * table.num_rows])


def _doubled(table: Any) -> Any:
    return table.take([*range(50), *range(49, 99)])


TAMPERED = [
    ("is missing", lambda path: path.unlink(), "offsets 300 to 400 are missing"),
    (
        "lacks a row",
        lambda path: _rewritten(path, lambda table: table.slice(0, 99)),
        "1 records of the stream are missing",
    ),
    ("has one twice", lambda path: _rewritten(path, _doubled), "doubled"),
    (
        "is altered",
        lambda path: _rewritten(path, _altered),
        "100 records differ from the stream, the first at offset 300",
    ),
    ("is cut", lambda path: path.write_bytes(path.read_bytes()[:500]), "Parquet"),
    ("is another's", lambda path: pq.write_table(pq.read_table(path).replace_schema_metadata(), path), "metadata"),
]


@pytest.mark.parametrize(("what", "tamper", "expected"), TAMPERED, ids=[what for what, _, _ in TAMPERED])
def test_verify_notices(deployment: Deployment, what: str, tamper: Callable[[Path], None], expected: str) -> None:
    """A file that is missing, doubled, short, altered or unreadable is named, with exit 1."""
    deployment.command("archive", "--until-end")
    assert deployment.command("registry", "verify").returncode == 0
    tamper(files_of(deployment)[3])
    found = deployment.command("registry", "verify", "--json", check=False)
    assert found.returncode == 1
    problems = [one["problem"] for one in json.loads(found.stdout) if one["problem"]]
    assert any(expected in problem for problem in problems)
    assert len(problems) == 1 or problems[1:] == ["offsets 300 to 400 are missing"]


def test_what_the_stream_has_deleted_is_a_gap(deployment: Deployment) -> None:
    """Records that retention took before the archiver came are reported and refused to readers; the rest is there."""
    deployment.command("archive", "--until-end")
    deployment.publish(phishing_events(1250)[1000:])
    sink = log.LogSink(deployment.folder / "var" / "log.db")
    sink.prune(retention_s=1.0, now_ms=int(time.time() * 1000) + 60_000)
    sink.close()
    deployment.publish(phishing_events(1300)[1250:])
    assert "archive_gap" in deployment.command("archive", "--until-end").stderr
    verified = deployment.command("registry", "verify", "--json", check=False)
    problems = [one["problem"] for one in json.loads(verified.stdout) if one["problem"]]
    assert (verified.returncode, problems) == (1, ["offsets 1000 to 1250 are missing"])
    with deployment.app() as app:
        archive = app.services.streams.archive(app.spec("phishing"))
        assert sum(len(one.events) for one in archive.read(AT, 1250, 1300)) == 50
        with pytest.raises(NotFoundError, match="no offsets 1000"):
            list(archive.read(AT, 900, 1300))


def test_another_range_begins_where_the_open_one_ends(tmp_path: Path) -> None:
    """After a change of `archive.range` the open file is filled first, and nothing is missing or doubled."""
    events, deployment = phishing_events(700), Deployment(tmp_path / "ranges", archive={"range": 100})
    for at, size in ((0, 100), (250, 64), (450, 1000)):
        deployment.archive = {"range": size}
        deployment.configure()
        deployment.publish(events[at : {0: 250, 250: 450, 450: 700}[at]])
        deployment.command("archive", "--until-end")
    assert firsts(deployment) == [0, 100, 200, 300, 320, 384, 448, 512]
    require_whole(deployment, events)


def _write_jsonl(path: Path, events: list[dict[str, Any]]) -> None:
    path.write_bytes(b"\n".join(map(msgspec.json.encode, events)) + b"\n")


def _write_csv(path: Path, events: list[dict[str, Any]]) -> None:
    names = list(events[0]["x"])
    rows = [[event["id"], json.dumps(event["y"]), *event["x"].values()] for event in events]
    path.write_text("\n".join(",".join(map(str, row)) for row in [["id", "y", *names], *rows]) + "\n")


def _write_parquet(path: Path, events: list[dict[str, Any]]) -> None:
    rows = [{"id": event["id"], "y": event["y"], **event["x"]} for event in events]
    pl.DataFrame(rows, infer_schema_length=None, strict=False).write_parquet(path)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_backfill(deployment: Deployment, kind: str) -> None:
    """Files of the user's come in once each, whole, beside the live archive, and are read like it."""
    write = {"jsonl": _write_jsonl, "csv": _write_csv, "parquet": _write_parquet}[kind]
    events = [msgspec.json.decode(event) for event in phishing_events(250)]
    names = [f"one.{kind}", f"two.{kind}"]
    write(deployment.folder / names[0], events)
    write(deployment.folder / names[1], events[:40])
    told = deployment.command("registry", "backfill", "phishing", *names).stdout
    assert "250 records, 0 of them refused" in told
    assert "40 records" in told
    again = deployment.command("registry", "backfill", "phishing", *names).stdout
    assert again.count("is there already") == 2
    deployment.command("archive", "--until-end")
    topic = f"{AT.topic}@backfill"
    with deployment.app() as app:
        archive = app.services.streams.archive(app.spec("phishing"))
        bounds = archive.bounds([topic])
        assert [(at.partition, one.start, one.end) for at, one in bounds.items()] == [(0, 0, 250), (1, 0, 40)]
        found = [
            event
            for at, one in bounds.items()
            for part in archive.read(at, one.start, one.end)
            for event in part.events
        ]
    assert [(event.id, event.y) for event in found] == [(event["id"], event["y"]) for event in [*events, *events[:40]]]
    assert deployment.command("registry", "verify").returncode == 0
