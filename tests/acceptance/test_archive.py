"""The archive has each record once, whatever dies or goes away."""

import json
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from service.domain.registry.archive import ArchiveStep
from service.domain.stream.events import TopicPartition
from service.errors import LeaseLostError
from service.stream.archive.files import RemoteArchiveFiles
from tests.acceptance.harness import (
    PHISHING,
    Deployment,
    fill,
    kill,
    metric,
    not_ready,
    phishing_events,
    terminate,
    wait_until,
)
from tests.acceptance.processes import catches
from tests.budget import STREAMS, stream_settings
from tests.services.s3 import ObjectStore

EVENTS = 20_000
RANGE = 4096
ARCHIVE = {"range": RANGE, "every": "100ms"}


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    """An S3 server; this process, whose clients are kept, and those it starts know its address."""
    found = ObjectStore()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        found.start()
        yield found
        found.stop()


def deployed(folder: Path, topic: str = PHISHING["events"], **options: Any) -> Deployment:
    """Small ranges and frequent tails."""
    return Deployment(folder, {**PHISHING, "events": topic}, archive=ARCHIVE, **options)


def files_of(deployment: Deployment, topic: str | None = None) -> list[Path]:
    """In the order of their offsets."""
    topic = topic or deployment.model["events"]
    return sorted((deployment.folder / "var" / "archive" / topic).rglob("*.parquet"))


def require_whole(deployment: Deployment, events: Sequence[bytes]) -> None:
    """The files hold these events once and in order, by their own reader and by another's, and so says `verify`."""
    table = pl.concat([pl.read_parquet(path) for path in files_of(deployment)], how="diagonal_relaxed")
    assert table["offset"].to_list() == list(range(len(events)))
    assert table["id_number"].to_list() == [json.loads(event)["id"] for event in events]
    require_read(deployment, events)


def require_read(deployment: Deployment, events: Sequence[bytes]) -> None:
    """What the archive gives back is what was published."""
    with deployment.app() as app:
        spec = app.spec(deployment.model["name"])
        archive, at = app.services.streams.archive(spec), TopicPartition(spec.events, 0)
        bounds = archive.bounds([spec.events])[at]
        assert (bounds.start, bounds.end) == (0, len(events))
        found = [event for decoded in archive.read(at, 0, len(events)) for event in decoded.events]
    assert [(one.id, one.x, one.y) for one in found] == [
        (one["id"], one["x"], one["y"]) for one in map(msgspec.json.decode, events)
    ]
    verified = deployment.command("registry", "verify")
    assert "artifacts are good" in verified.stdout


@pytest.mark.parametrize("step", list(ArchiveStep))
@pytest.mark.parametrize("turn", [1, 2, 5])
def test_death_at_every_step(tmp_path: Path, step: ArchiveStep, turn: int) -> None:
    """Whatever step kills the archiver, and whichever time, what is archived in the end is the stream."""
    deployment, events = deployed(tmp_path / "stormy"), phishing_events(EVENTS)
    deployment.publish(events[: EVENTS // 2])
    dying = deployment.start("archive", "--until-end", environment={"HEADRACE_FAILPOINT": f"{step}:{turn}"})
    dying.wait(timeout=300)
    assert turn == 5 or dying.returncode != 0, f"the failpoint {step} was not reached"
    deployment.publish(events[EVENTS // 2 :])
    deployment.command("archive", "--until-end")
    require_whole(deployment, events)


@pytest.fixture(params=STREAMS)
def kafka(request: pytest.FixtureRequest) -> dict[str, Any] | None:
    """The stream's settings; None for the embedded log."""
    return stream_settings(request, request.param)


@pytest.mark.slow
def test_sigkill_at_random_moments(tmp_path: Path, kafka: dict[str, Any] | None, topic: str) -> None:
    """Killed while events come in, again and again, the archiver neither loses nor doubles any."""
    deployment, chance, sent = deployed(tmp_path / "stormy", topic, kafka=kafka), random.Random(5), 0
    events = phishing_events(60_000)
    deployment.publish(events[:1])
    archiver, killed = deployment.start("archive"), 0
    for sent in range(1, len(events), 6_000):
        deployment.publish(events[sent : sent + 6_000])
        time.sleep(chance.uniform(0.2, 1.2))
        killed += archiver.poll() is None
        kill(archiver)
        archiver = deployment.start("archive")
    assert killed == 10
    wait_until(lambda: archived(deployment) == len(events) and catches(archiver.pid, signal.SIGTERM))
    assert terminate(archiver) == 0
    require_whole(deployment, events)


def archived(deployment: Deployment) -> int:
    """Up to which offset the registry says the archive is durable."""
    return sum(row.next for row in deployment._watched().registry.archives.list())


def test_sigterm_flushes(tmp_path: Path) -> None:
    """Asked to stop, the archiver writes what it has read, hands back its lease and exits 0.

    What fills a range is written at once; the rest was read with it, and would wait for an hour.
    """
    deployment, events = deployed(tmp_path / "calm"), phishing_events(3500)
    deployment.archive = {"range": 1000, "every": "1h"}
    deployment.configure()
    deployment.publish(events)
    archiver = deployment.start("archive")
    wait_until(lambda: archived(deployment) == 3000)
    assert terminate(archiver) == 0
    require_whole(deployment, events)


def test_second_archiver_is_refused(tmp_path: Path) -> None:
    """A second archiver exits 3 and says why; one that waits takes over when the first is gone."""
    deployment, events = deployed(tmp_path / "two"), phishing_events(2000)
    deployment.publish(events[:1000])
    first = deployment.start("archive")
    wait_until(lambda: archived(deployment) == 1000)
    refused = deployment.command("archive", check=False)
    assert refused.returncode == 3
    assert "locked by another process" in refused.stderr
    heir = deployment.start("archive", "--wait-for-lease")
    kill(first)
    deployment.publish(events[1000:])
    wait_until(lambda: archived(deployment) == 2000)
    assert terminate(heir) == 0
    require_whole(deployment, events)


@pytest.mark.slow
def test_disk_is_full(small_disk: Path) -> None:
    """With no room for a file the archiver says so and waits, survives a death, and goes on when there is room."""
    deployment, events = deployed(small_disk), phishing_events(EVENTS)
    deployment.publish(events)
    filler = fill(small_disk / "var")
    archiver = deployment.start("archive")
    port = archiver_port(deployment, archiver.pid)
    wait_until(lambda: "No space" in not_ready(port) or "full" in not_ready(port))
    assert metric(port, "headrace_retries_total")
    kill(archiver)
    archiver = deployment.start("archive")
    port = archiver_port(deployment, archiver.pid)
    wait_until(lambda: not_ready(port))
    filler.unlink()
    wait_until(lambda: archived(deployment) == EVENTS)
    assert terminate(archiver) == 0
    require_whole(deployment, events)


def test_the_lag_grows_while_nothing_can_be_written(tmp_path: Path) -> None:
    """Where the archive's folder is gone the metric says how far it falls behind, and when it has caught up."""
    deployment, events = deployed(tmp_path), phishing_events(3000)
    folder, aside = tmp_path / "var" / "archive", tmp_path / "var" / "aside"
    deployment.publish(events[:1000])
    archiver = deployment.start("archive")
    port = archiver_port(deployment, archiver.pid)
    wait_until(lambda: archived(deployment) == 1000)
    folder.rename(aside)
    folder.touch()
    for start, end in ((1000, 1500), (1500, 3000)):
        deployment.publish(events[start:end])
        wait_until(lambda behind=end - 1000: metric(port, "headrace_archive_lag_events") == behind)
    folder.unlink()
    aside.rename(folder)
    wait_until(lambda: metric(port, "headrace_archive_lag_events") == 0)
    assert terminate(archiver) == 0
    require_whole(deployment, events)


def archiver_port(deployment: Deployment, pid: int) -> int:
    """Where the archiver answers."""
    told = f"pid={pid} port="
    wait_until(lambda: told in " ".join(deployment.log().split()))
    return int(" ".join(deployment.log().split()).split(told)[1].split()[0])


@pytest.mark.slow
def test_object_store_is_unreachable(tmp_path: Path, store: ObjectStore) -> None:
    """An archive on S3 that cannot be reached is waited for, and a kill in the meantime loses and doubles nothing."""
    deployment = deployed(tmp_path / "remote", archive_url=f"s3://{store.bucket()}/history")
    events = phishing_events(EVENTS)
    deployment.publish(events[:6000])
    archiver = deployment.start("archive")
    wait_until(lambda: archived(deployment) == 6000)
    store.stop()
    deployment.publish(events[6000:])
    port = archiver_port(deployment, archiver.pid)
    wait_until(lambda: "s3://" in not_ready(port))
    assert metric(port, "headrace_retries_total", service="archive")
    assert archived(deployment) == 6000
    kill(archiver)
    archiver = deployment.start("archive")
    time.sleep(2.0)
    store.start()
    wait_until(lambda: archived(deployment) == EVENTS)
    assert terminate(archiver) == 0
    require_read(deployment, events)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["archive_file_renamed", "archive_row_proved", "archive_acknowledged"])
def test_death_on_an_object_store(tmp_path: Path, store: ObjectStore, step: str) -> None:
    """Objects that are ahead of the registry are taken up where they end."""
    deployment = deployed(tmp_path / "remote", archive_url=f"s3://{store.bucket()}/history")
    events = phishing_events(EVENTS)
    deployment.publish(events[:10_000])
    dying = deployment.start("archive", "--until-end", environment={"HEADRACE_FAILPOINT": f"{step}:3"})
    assert dying.wait(timeout=300) != 0
    deployment.publish(events[10_000:])
    deployment.command("archive", "--until-end")
    require_read(deployment, events)


def test_an_object_is_replaced_only_by_who_knows_it(store: ObjectStore) -> None:
    """An archiver that slept while another wrote cannot put its older tail over the newer one."""
    at, url = TopicPartition("t", 0), f"s3://{store.bucket()}/fence"
    sleeper, heir = (RemoteArchiveFiles(url, on_step=lambda _step: None) for _ in range(2))
    sleeper.write(at, 0, b"one")
    sleeper.write(at, 0, b"two")
    assert heir.read(at, 0) == b"two"
    heir.write(at, 0, b"three")
    with pytest.raises(LeaseLostError, match="another process"):
        sleeper.write(at, 0, b"older")
    with pytest.raises(LeaseLostError):
        RemoteArchiveFiles(url, on_step=lambda _step: None).write(at, 0, b"from nowhere")
    assert heir.read(at, 0) == b"three"
    assert dict(heir.sizes(at)) == {0: 5}
    heir.write(at, 0, b"three")


@pytest.mark.slow
def test_the_learner_is_not_disturbed(tmp_path: Path) -> None:
    """Under `headrace run` an archiver that dies, or cannot write at all, ends nothing but itself."""
    deployment, events = deployed(tmp_path / "run"), phishing_events(4000)
    (tmp_path / "run" / "var" / "archive").write_text("a file where a folder should be")
    deployment.publish(events[:2000])
    daemon = deployment.start("run")
    wait_until(lambda: deployment.learned() == 2000)
    assert archived(deployment) == 0
    (tmp_path / "run" / "var" / "archive").unlink()
    wait_until(lambda: archived(deployment) == 2000)
    pid = int(deployment.log().split("archiver_started")[1].split("pid=")[1].split()[0])
    for _ in range(3):
        started = deployment.log().count("archiver_started")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda count=started: deployment.log().count("archiver_started") > count)
        pid = int(deployment.log().split("archiver_started")[-1].split("pid=")[1].split()[0])
    deployment.publish(events[2000:])
    wait_until(lambda: deployment.learned() == 4000 and archived(deployment) == 4000)
    assert deployment.log().count("learner_started") == 1
    assert terminate(daemon) == 0
    require_whole(deployment, events)
