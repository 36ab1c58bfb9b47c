"""`headrace doctor` says of the archive whether it can be written and how far it is behind."""

import json
import time
from pathlib import Path

import pytest

from service.stream.log import source as log
from tests.acceptance.harness import Deployment, phishing_events
from tests.services.s3 import ObjectStore


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    """A stream of a hundred events."""
    found = Deployment(tmp_path / "patient")
    found.publish(phishing_events(100))
    return found


def told(deployment: Deployment, *, good: bool) -> str:
    """What it says of the archive; its exit code is that of everything together."""
    done = deployment.command("doctor", "--json", check=False)
    findings = {one["check"]: one for one in json.loads(done.stdout)}
    assert findings["archive"]["result"] == ("good" if good else "bad")
    assert done.returncode == (0 if good else 1)
    detail: str = findings["archive"]["detail"]
    return detail


def test_it_says_how_far_behind(deployment: Deployment) -> None:
    """Before the archiver has come it is everything, afterwards what has been published since."""
    assert told(deployment, good=True) == "writable, phishing.events[0] 100 offsets behind"
    deployment.command("archive", "--until-end")
    assert told(deployment, good=True) == "writable, phishing.events[0] 0 offsets behind"
    deployment.publish(phishing_events(7))
    assert told(deployment, good=True) == "writable, phishing.events[0] 7 offsets behind"
    assert list((deployment.folder / "var" / "archive").glob(".*")) == []


def test_a_folder_that_cannot_be_made(deployment: Deployment) -> None:
    """A file in the folder's place is found."""
    (deployment.folder / "var" / "archive").write_bytes(b"")
    assert "not writable" in told(deployment, good=False)


def test_an_object_store(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket is written to and left empty; one that does not exist is found, and not made."""
    store = ObjectStore()
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    store.start()
    try:
        deployment.archive_url = f"s3://{store.bucket()}/history"
        deployment.configure()
        assert told(deployment, good=True).startswith("writable")
        deployment.archive_url = "s3://nobody-made-this/history"
        deployment.configure()
        for _ in range(2):
            assert "unavailable" in told(deployment, good=False)
    finally:
        store.stop()


def test_records_that_are_in_no_archive(deployment: Deployment) -> None:
    """What the stream has deleted before it was archived is said; a stream that ends too early is another one."""
    deployment.command("archive", "--until-end")
    deployment.publish(phishing_events(50))
    sink = log.LogSink(deployment.folder / "var" / "log.db")
    sink.prune(retention_s=1.0, now_ms=int(time.time() * 1000) + 60_000)
    sink.close()
    assert "deleted before they were archived" in told(deployment, good=False)
    for path in (deployment.folder / "var").glob("log.db*"):
        path.unlink()
    deployment.publish(phishing_events(3))
    assert "another one" in told(deployment, good=False)


def test_no_archive_no_check(deployment: Deployment) -> None:
    """Where nothing is archived, nothing is asked."""
    file = deployment.folder / "headrace.yaml"
    file.write_text(file.read_text("utf-8").replace("archive: var/archive", "archive: null"), encoding="utf-8")
    assert "archive" not in {one["check"] for one in json.loads(deployment.command("doctor", "--json").stdout)}
