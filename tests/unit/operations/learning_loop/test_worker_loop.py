"""A learner's loop in this process: it opens, learns, carries out commands, and closes with everything durable."""

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from service.domain.registry.registry import CommandKind, CommandStatus
from service.errors import LeaseHeldError, LeaseLostError, PastEndError, UnavailableError
from service.operations.learning_loop import opening, worker
from service.operations.learning_loop.opening import LearnOptions
from service.operations.learning_loop.worker import Worker
from service.operations.services import Services
from service.testing.scripted import CRASH, CrashError, Script
from service.testing.services import with_parts
from tests.acceptance.harness import PHISHING, Deployment, phishing_events, wait_until
from tests.learned_model import LearnedModel, Unreachable, learned_model

TO_THE_END = LearnOptions(until_end=True)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """A learner sets the garbage collector for its process, which here is the tests'."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def new_worker(
    model: LearnedModel,
    options: LearnOptions = TO_THE_END,
    *,
    services: Services | None = None,
    stop: Event | None = None,
) -> Worker:
    """Return a learner of the deployment's models."""
    return Worker(services or model.services, model.app.settings.models, options, stop or Event())


@contextmanager
def running(found: Worker) -> Iterator[Worker]:
    """Run it in a thread of its own until the block ends; raises what it raised."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(found.run)
        try:
            yield found
        finally:
            found.stop.set()
        future.result(timeout=30)


def is_free(model: LearnedModel) -> bool:
    """Return whether another process can have the champion's lease."""
    lease = model.services.registry.leases.acquire(model.champion.id, holder="elsewhere", ttl_s=60.0)
    model.services.registry.leases.release(lease)
    return True


def test_to_the_end_of_the_stream(model: LearnedModel) -> None:
    """Everything that was in the stream at the start is learned and durable, and the lease is handed back."""
    model.deployment.publish(phishing_events(200))
    new_worker(model).run()
    assert model.learned == 200
    assert is_free(model)


def test_a_stop_commits_what_was_learned(model: LearnedModel) -> None:
    """A learner that is told to stop makes durable what it has learned, though no checkpoint was due."""
    model.deployment.publish(phishing_events(50))
    with running(new_worker(model, LearnOptions())) as found:
        wait_until(lambda: any(one.processed == 50 for one in [*found.sessions.values()]), timeout_s=30, every_s=0.005)
        assert model.learned == 0
    assert model.learned == 50
    assert is_free(model)


def test_a_crash_is_no_loss(model: LearnedModel) -> None:
    """What came before a crash of the reader is committed; the next start learns the rest, and nothing twice."""
    events = phishing_events(40)
    script = Script([*events[:25], CRASH, *events[25:]], topic=model.spec.events)
    services = with_parts(model.services, source=lambda _: script.source())
    with pytest.raises(CrashError):
        new_worker(model, services=services).run()
    assert model.learned == 25
    new_worker(model, services=services).run()
    assert model.learned == 40
    assert [
        (run.first, run.last)
        for one in model.services.registry.checkpoints.journal(model.champion.id)
        for run in one.order
    ] == [
        (0, 25),
        (26, 41),
    ]


def test_a_frozen_model_waits_and_ends(model: LearnedModel) -> None:
    """A frozen model learns nothing, says so, and counts as done where the stream's end is the goal."""
    model.run(CommandKind.FREEZE, reason="a look at the labels")
    model.deployment.publish(phishing_events(10))
    found = new_worker(model)
    found.run()
    assert model.learned == 0


def test_a_position_behind_the_end_is_refused(model: LearnedModel) -> None:
    """A stream that ends before the position is another stream: the learner refuses, and gives its lease back."""
    with model.session() as (session, source):
        source.put(phishing_events(30))
        session.step()
        session.commit_now()
    with pytest.raises(PastEndError):
        new_worker(model).run()
    assert model.learned == 30


class TestStarting:
    """What a start waits for, and what it does not wait for."""

    def test_the_database_is_away(self, model: LearnedModel) -> None:
        """A learner starts before its database, and learns when it is there."""
        model.deployment.publish(phishing_events(10))
        models = Unreachable(model.services.registry.models, "list", times=1)
        new_worker(model, services=with_parts(model.services, models=models)).run()
        assert (model.learned, models.calls) == (10, 2)

    def test_a_stop_while_the_database_is_away(self, model: LearnedModel) -> None:
        """A learner that is told to stop while it waits ends without an error, and says meanwhile what it waits for."""
        models = Unreachable(model.services.registry.models, "list", times=10**6)
        waiting = new_worker(model, LearnOptions(), services=with_parts(model.services, models=models))
        assert waiting.not_ready() == ["no model is being learned yet"]
        with running(waiting):
            wait_until(lambda: waiting.not_ready() == ["connection refused"], timeout_s=30, every_s=0.005)
        assert waiting.sessions == {}

    def test_another_process_learns(self, model: LearnedModel, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where another process keeps the lease for longer than a hand-over takes, the start is refused."""
        monkeypatch.setattr(opening, "HAND_OVER_S", 0.0)
        monkeypatch.setattr(opening, "LOOK_AGAIN_S", 0.01)
        model.services.registry.leases.acquire(model.champion.id, holder="elsewhere", ttl_s=60.0)
        with pytest.raises(LeaseHeldError, match="elsewhere"):
            new_worker(model).run()

    def test_standing_by(self, model: LearnedModel, monkeypatch: pytest.MonkeyPatch) -> None:
        """A learner that was told to wait for the lease stands by, says for whom, and takes over when it is free."""
        monkeypatch.setattr(opening, "HAND_OVER_S", 0.0)
        monkeypatch.setattr(opening, "LOOK_AGAIN_S", 0.01)
        model.deployment.publish(phishing_events(10))
        lease = model.services.registry.leases.acquire(model.champion.id, holder="elsewhere", ttl_s=60.0)
        found = new_worker(model, LearnOptions(wait_for_lease=True))
        with running(found):
            wait_until(lambda: "elsewhere" in " ".join(found.not_ready()), timeout_s=30, every_s=0.005)
            model.services.registry.leases.release(lease)
            wait_until(
                lambda: any(one.processed == 10 for one in [*found.sessions.values()]), timeout_s=30, every_s=0.005
            )
            assert found.not_ready() == []
        assert model.learned == 10

    def test_a_fresh_start_forgets(self, model: LearnedModel) -> None:
        """A start anew deletes the model with its versions, and learns the stream from its beginning."""
        model.learn(30)
        model.run(CommandKind.SNAPSHOT)
        new_worker(model, LearnOptions(until_end=True, fresh=True)).run()
        assert model.learned == 30
        assert [one.number for one in model.services.registry.history.versions(model.name)] == [1]

    def test_only_the_challenger(self, model: LearnedModel) -> None:
        """A process that was started for a challenger learns it alone, and carries out no commands."""
        model.learn(20)
        changed = {**model.spec.model_dump(mode="json"), "estimator": ["linear_model.Perceptron"]}
        model.run(CommandKind.APPLY, spec=changed)
        asked = model.services.registry.commands.request(model.name, CommandKind.SNAPSHOT, arguments={}, actor="ann")
        (challenger,) = model.services.registry.challengers.list(model.name)
        new_worker(model, LearnOptions(until_end=True, challenger=challenger.lineage)).run()
        newest = model.services.registry.checkpoints.newest(challenger.lineage)
        assert newest is not None
        assert newest.learned == 20
        assert model.services.registry.commands.get(asked.id).status is CommandStatus.PENDING


class TestWhileLearning:
    """What comes from outside while a learner runs."""

    @pytest.fixture
    def quick(self, tmp_path: Path) -> Iterator[LearnedModel]:
        """Two models that commit as often as they can."""
        spec: dict[str, Any] = {**PHISHING, "checkpoint": {"every": "1ms", "max_share": 1.0}}
        other = {**spec, "name": "other", "events": "other.events"}
        with learned_model(Deployment(tmp_path / "quick", spec, others=[other])) as opened:
            opened.deployment.publish([], topic="other.events")
            yield opened

    def test_a_rollback_goes_on_in_the_new_lineage(self, quick: LearnedModel) -> None:
        """A command is carried out between two slices, and learning goes on with the lineage that it has made."""
        quick.deployment.publish(phishing_events(20))
        before = quick.champion
        with running(new_worker(quick, LearnOptions())) as found:
            wait_until(lambda: quick.learned == 20, timeout_s=30, every_s=0.005)
            asked = quick.services.registry.commands.request(
                quick.name, CommandKind.ROLLBACK, arguments={"to": "1"}, actor="ann"
            )
            wait_until(lambda: quick.champion != before, timeout_s=30, every_s=0.005)
            wait_until(lambda: quick.champion.id in found.sessions, timeout_s=30, every_s=0.005)
            quick.deployment.publish(phishing_events(5, first=20))
            at_end = dict.fromkeys(found.sessions[quick.champion.id].position.offsets, 25)
            wait_until(lambda: found.sessions[quick.champion.id].has_reached(at_end), timeout_s=30, every_s=0.005)
        assert quick.services.registry.commands.get(asked.id).status is CommandStatus.DONE
        assert [
            one.order[0].first for one in quick.services.registry.checkpoints.journal(quick.champion.id) if one.order
        ] == [20]

    def test_one_lost_lease_stops_one_session(self, quick: LearnedModel) -> None:
        """A session whose lease is lost is closed; the others learn on, and the reason is raised at the end."""
        found = new_worker(quick, LearnOptions())
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(found.run)
            wait_until(lambda: len(found.sessions) == 2, timeout_s=30, every_s=0.005)
            found.sessions[quick.champion.id].lease_lost = True
            wait_until(lambda: len(found.sessions) == 1, timeout_s=30, every_s=0.005)
            quick.deployment.publish(phishing_events(5), topic="other.events")
            (left,) = found.sessions.values()
            wait_until(lambda: left.processed == 5, timeout_s=30, every_s=0.005)
            found.stop.set()
            with pytest.raises(LeaseLostError, match=f"the lease of {quick.name} was taken"):
                future.result(timeout=30)

    def test_a_command_during_an_outage(self, quick: LearnedModel) -> None:
        """A command that fails for want of the database is done after the session was opened again."""
        changes = Unreachable(quick.services.registry.changes, "snapshot", times=1)
        quick.deployment.publish(phishing_events(5))
        with running(new_worker(quick, LearnOptions(), services=with_parts(quick.services, changes=changes))):
            wait_until(lambda: quick.learned == 5, timeout_s=30, every_s=0.005)
            asked = quick.services.registry.commands.request(
                quick.name, CommandKind.SNAPSHOT, arguments={}, actor="ann"
            )
            wait_until(
                lambda: quick.services.registry.commands.get(asked.id).status is CommandStatus.DONE,
                timeout_s=30,
                every_s=0.005,
            )
        assert changes.calls == 2
        assert quick.services.registry.commands.get(asked.id).outcome == "version 2"

    def test_the_reasons_why_it_is_not_ready(self, quick: LearnedModel) -> None:
        """Each model that does not learn is named with its reason, and one that learns is not."""
        quick.run(CommandKind.FREEZE, reason="wrong labels")
        with running(new_worker(quick, LearnOptions())) as found:
            wait_until(lambda: len(found.sessions) == 2, timeout_s=30, every_s=0.005)
            assert found.not_ready() == [f"{quick.name}: frozen; see `headrace model history`"]


def test_the_last_commit_fails(model: LearnedModel) -> None:
    """A database that goes away before the last commit costs what was learned since the one before, and no more."""
    model.deployment.publish(phishing_events(10))
    checkpoints = Unreachable(model.services.registry.checkpoints, "commit", times=10**6)
    stop = Event()
    found = new_worker(model, LearnOptions(), services=with_parts(model.services, checkpoints=checkpoints), stop=stop)
    with running(found):
        wait_until(lambda: any(one.processed == 10 for one in [*found.sessions.values()]), timeout_s=30, every_s=0.005)
    assert model.learned == 0
    assert found.sessions == {}


def test_readiness_of_nothing() -> None:
    """Without sessions there is one reason: what a start waits for, or that nothing is learned."""
    assert worker.not_ready_reasons([], waiting_reason="") == ["no model is being learned yet"]
    assert worker.not_ready_reasons([], waiting_reason="connection refused") == ["connection refused"]


def test_startup_waits_are_told() -> None:
    """A start that waits says for what, counts each failure, and is silent once it was answered."""
    failures: list[int] = []
    reasons: list[str] = []
    wait = opening.StartupWait(Event(), lambda: failures.append(len(reasons)))

    def ask() -> str:
        reasons.append(wait.reason)
        if len(reasons) == 1:
            msg = "connection refused"
            raise UnavailableError(msg)
        return "answered"

    assert wait.retry(ask) == "answered"
    assert (failures, reasons, wait.reason) == ([1], ["", "connection refused"], "")


def test_another_error_is_not_waited_for() -> None:
    """What is wrong for good is raised at once."""
    calls: list[int] = []

    def ask() -> None:
        calls.append(1)
        msg = "found no such key"
        raise KeyError(msg)

    with pytest.raises(KeyError):
        opening.StartupWait(Event(), lambda: None).retry_in_background(ask)
    assert calls == [1]
