"""The broker, the database, the disk or the process goes away: nothing is lost, nothing repeated, all explained."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from service.domain.stream.position import merge_ranges
from tests.acceptance.harness import (
    PHISHING,
    QUICK_S,
    Deployment,
    State,
    fill,
    kill,
    metric,
    not_ready,
    phishing_events,
    terminate,
    wait_until,
)
from tests.acceptance.processes import pause
from tests.budget import SHORT_LEASE_TTL
from tests.services import kafka, postgres

EVENTS = 120_000
PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def events() -> list[bytes]:
    """More than the learner holds ahead of itself, so that an outage finds it in the middle."""
    return phishing_events(EVENTS)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, events: list[bytes]) -> State:
    """What a learner that is left alone makes of the events."""
    deployment = Deployment(tmp_path_factory.mktemp("calm"))
    deployment.publish(events)
    deployment.command("learn", "--until-end")
    return deployment.state()


def require_same(found: State, calm: State) -> None:
    """Counts, metrics, predictions, position and order are those of the calm run."""
    assert found.counts == calm.counts
    assert found.report == calm.report
    assert found.probes == calm.probes
    assert list(found.position.values()) == list(calm.position.values())
    assert spans(found) == spans(calm)


def spans(state: State) -> list[tuple[int, int, int]]:
    """The order of learning, without the topic's name."""
    return [(run.partition, run.first, run.last) for run in merge_ranges(state.order)]


def finish(deployment: Deployment, learner: "subprocess.Popen[bytes]", count: int) -> State:
    """Wait until everything is learned, stop the learner, and open what it left."""
    wait_until(lambda: learner.poll() is not None or deployment.learned() >= count, timeout_s=PATIENCE_S)
    assert learner.poll() is None, deployment.log()[-3000:]
    assert terminate(learner) == 0
    return deployment.state()


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["kafka-python", "librdkafka"])
def test_broker_restarts_in_the_middle(
    tmp_path: Path, private_broker: kafka.Broker, events: list[bytes], calm: State, driver: str
) -> None:
    """The learner says that the stream is away, goes on by itself, and has learned every event once."""
    address = {"bootstrap_servers": private_broker.bootstrap}
    deployment = Deployment(tmp_path / "outage", kafka={**address, "driver": "librdkafka"})
    deployment.publish(events)
    deployment.kafka = {**address, "driver": driver}
    deployment.configure()
    learner = deployment.start("learn")
    wait_until(lambda: deployment.learned() > 0, every_s=0.005)
    learner.send_signal(signal.SIGSTOP)
    private_broker.kill()
    learner.send_signal(signal.SIGCONT)
    port = deployment.port(learner.pid)
    wait_until(lambda: "stream" in not_ready(port), timeout_s=PATIENCE_S)
    assert private_broker.bootstrap in not_ready(port)
    assert metric(port, "headrace_retries_total", service="stream")
    assert 0 < deployment.learned() < EVENTS, "the broker was not stopped in the middle"
    private_broker.start()
    wait_until(lambda: not not_ready(port), timeout_s=PATIENCE_S)
    require_same(finish(deployment, learner, EVENTS), calm)


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["kafka-python", "librdkafka"])
def test_sigterm_while_the_broker_is_away(tmp_path: Path, private_broker: kafka.Broker, driver: str) -> None:
    """A learner whose broker is silent, in the middle or from the start, ends within five seconds with exit code 0."""
    deployment = Deployment(tmp_path / "known", kafka={"bootstrap_servers": private_broker.bootstrap, "driver": driver})
    deployment.publish(phishing_events(1000))
    learner = deployment.start("learn")
    wait_until(lambda: deployment.learned() == 1000)
    private_broker.kill()
    port = deployment.port(learner.pid)
    wait_until(lambda: "stream" in not_ready(port), timeout_s=PATIENCE_S)
    require_quick_end(learner)
    new = Deployment(tmp_path / "new", kafka={"bootstrap_servers": private_broker.bootstrap, "driver": driver})
    learner = new.start("learn")
    new.port(learner.pid)
    time.sleep(1)
    require_quick_end(learner)


def require_quick_end(learner: "subprocess.Popen[bytes]") -> None:
    """SIGTERM is obeyed in time."""
    began = time.monotonic()
    assert terminate(learner) == 0
    assert time.monotonic() - began < QUICK_S


@pytest.mark.slow
def test_what_is_shown_while_the_database_is_away(tmp_path: Path, private_postgres: postgres.Postgres) -> None:
    """Lag and a pause are told by the metrics also while no commit comes back."""
    deployment = Deployment(tmp_path / "outage", registry_url=private_postgres.database())
    deployment.publish(phishing_events(1000))
    learner = deployment.start("learn")
    wait_until(lambda: deployment.learned() == 1000)
    port = deployment.port(learner.pid)
    private_postgres.stop()
    deployment.publish([b"garbage"] * 2000)
    wait_until(lambda: metric(port, "headrace_model_frozen", model="phishing") == 1)
    deployment.publish(phishing_events(1500)[1000:])
    wait_until(lambda: (metric(port, "headrace_lag_events", model="phishing") or 0) >= 500)
    wait_until(lambda: "registry" in not_ready(port))


@pytest.mark.slow
def test_database_restarts_in_the_middle(
    tmp_path: Path, private_postgres: postgres.Postgres, events: list[bytes], calm: State
) -> None:
    """Commits wait for the database, /readyz says so, and every event is learned once."""
    deployment = Deployment(tmp_path / "outage", registry_url=private_postgres.database())
    deployment.publish(events[: EVENTS // 2])
    learner = deployment.start("learn")
    wait_until(lambda: deployment.learned() > 0)
    private_postgres.stop()
    port = deployment.port(learner.pid)
    wait_until(lambda: "registry" in not_ready(port), timeout_s=PATIENCE_S)
    assert str(private_postgres.port) in not_ready(port)
    assert metric(port, "headrace_retries_total", service="database")
    private_postgres.start()
    wait_until(lambda: deployment.learned() == EVENTS // 2 and not not_ready(port), timeout_s=PATIENCE_S)
    private_postgres.stop()
    wait_until(lambda: "registry" in not_ready(port), timeout_s=PATIENCE_S)
    deployment.publish(events[EVENTS // 2 :])
    private_postgres.start()
    require_same(finish(deployment, learner, EVENTS), calm)
    assert deployment.log().count("learner_started") == 1, "the learner did not recover by itself"


@pytest.mark.slow
@pytest.mark.parametrize("role", ["learn", "run"])
def test_database_is_away_at_the_start(
    tmp_path: Path, private_postgres: postgres.Postgres, events: list[bytes], role: str
) -> None:
    """A daemon that starts before its database says so, waits, and begins when it is there."""
    deployment = Deployment(tmp_path / "outage", registry_url=private_postgres.database())
    deployment.publish(events[:1000])
    private_postgres.stop()
    learner = deployment.start(role)
    wait_until(lambda: "unavailable" in not_ready(deployment.port()))
    assert metric(deployment.port(), "headrace_retries_total", service="database")
    private_postgres.start()
    found = finish(deployment, learner, 1000)
    assert found.counts == {"learned": 1000}


@pytest.mark.slow
@pytest.mark.parametrize("large", [False, True], ids=["in the registry", "beside the registry"])
def test_disk_is_full(small_disk: Path, large: bool) -> None:
    """With no room for its state, the learner says so, waits, and goes on when there is room, even after a death."""
    events = phishing_events(60_000, long_ids=True)
    remembered = 10_000 if large else 1_000
    model = {**PHISHING, "dedupe": {"events": remembered}}
    deployment = Deployment(small_disk, model)
    deployment.publish(events[:30_000])
    learner = deployment.start("learn")
    wait_until(lambda: deployment.learned() > 0, every_s=0.005)
    learner.send_signal(signal.SIGSTOP)
    filler = fill(small_disk / "var")
    learner.send_signal(signal.SIGCONT)
    port = deployment.port(learner.pid)
    wait_until(lambda: "full" in not_ready(port) or "No space" in not_ready(port))
    assert metric(port, "headrace_retries_total", service="database")
    at_most = deployment.learned()
    kill(learner)
    learner = deployment.start("learn")
    port = deployment.port(learner.pid)
    wait_until(lambda: "full" in not_ready(port) or "No space" in not_ready(port))
    assert deployment.learned() == at_most
    assert learner.poll() is None, deployment.log()[-3000:]
    filler.unlink()
    wait_until(lambda: not not_ready(port), timeout_s=PATIENCE_S)
    deployment.publish(events[30_000:])
    found = finish(deployment, learner, 60_000)
    calm = Deployment(small_disk.parent / "calm", model)
    calm.publish(events)
    calm.command("learn", "--until-end")
    require_same(found, calm.state())
    assert deployment.command("registry", "verify").returncode == 0


def test_second_learner_is_refused(tmp_path: Path) -> None:
    """A second learner of a model exits 3, names the process that writes it, and says what can be done."""
    deployment = Deployment(tmp_path / "two")
    deployment.publish(phishing_events(500))
    learner = deployment.start("learn")
    wait_until(lambda: deployment.learned() == 500)
    refused = deployment.command("learn", check=False)
    assert refused.returncode == 3
    assert f"/{learner.pid}/" in refused.stderr
    assert "stop that process" in refused.stderr
    assert "--wait-for-lease" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert terminate(learner) == 0
    assert deployment.state().counts == {"learned": 500}


@pytest.mark.slow
def test_standby_takes_over(tmp_path: Path, events: list[bytes], calm: State) -> None:
    """A waiting learner stays out while the first one lives, and goes on from its checkpoint when it is killed."""
    deployment = Deployment(tmp_path / "two", lease_ttl=SHORT_LEASE_TTL)
    deployment.publish(events[: EVENTS // 6])
    learner = deployment.start("learn")
    wait_until(lambda: deployment.learned() > 0)
    standby = deployment.start("learn", "--wait-for-lease")
    port = deployment.port(standby.pid)
    wait_until(lambda: f"/{learner.pid}/" in not_ready(port))
    deployment.publish(events[EVENTS // 6 :])
    wait_until(lambda: deployment.learned() > EVENTS // 6)
    kill(learner)
    assert deployment.learned() < EVENTS, "the learner was not killed in the middle"
    require_same(finish(deployment, standby, EVENTS), calm)


@pytest.mark.slow
def test_standby_follows_a_rollback(tmp_path: Path) -> None:
    """When the first learner has rolled back, the standby waits for the new lineage, never for the old one."""
    deployment = Deployment(tmp_path / "two", lease_ttl=SHORT_LEASE_TTL)
    deployment.publish(phishing_events(2000))
    learner = deployment.start("learn")
    wait_until(lambda: deployment.learned() == 2000)
    standby = deployment.start("learn", "--wait-for-lease")
    wait_until(lambda: "found phishing being written" in deployment.log())
    deployment.command("model", "rollback", "phishing", "--to", "1")
    time.sleep(5)
    assert standby.poll() is None
    assert not_ready(deployment.port(standby.pid))
    kill(learner)
    wait_until(lambda: not not_ready(deployment.port(standby.pid)))
    deployment.publish(phishing_events(3000)[2000:])
    found = finish(deployment, standby, 3000)
    assert found.counts == {"learned": 3000}
    with deployment.app() as app:
        lineages = app.registry.history.lineages("phishing")
        retired = [app.registry.checkpoints.newest_first(one.id)[0] for one in lineages if one.role == "retired"]
        assert [one.learned for one in retired] == [2000], "the retired lineage went on learning"


@pytest.mark.slow
def test_paused_learner_wakes_too_late(tmp_path: Path, events: list[bytes], calm: State) -> None:
    """A learner that slept while another took its lease writes nothing any more and exits 3, saying why."""
    deployment = Deployment(tmp_path / "two", lease_ttl=SHORT_LEASE_TTL)
    deployment.publish(events)
    sleeper = deployment.start("learn")
    wait_until(lambda: deployment.learned() > 0)
    pause(sleeper, deployment.folder / "var" / "headrace.db")
    before = deployment.learned()
    assert before < EVENTS, "the learner was not paused in the middle"
    heir = deployment.start("learn", "--wait-for-lease")
    wait_until(lambda: deployment.learned() > before, timeout_s=PATIENCE_S)
    sleeper.send_signal(signal.SIGCONT)
    assert sleeper.wait(timeout=120) == 3
    assert "another process" in deployment.log()
    require_same(finish(deployment, heir, EVENTS), calm)
