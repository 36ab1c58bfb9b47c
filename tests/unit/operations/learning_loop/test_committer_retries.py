"""Making states durable while the database comes and goes: nothing is lost, and nothing is written twice."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from service.domain.registry.registry import CommandKind
from service.domain.stream.events import TopicPartition
from service.errors import NotFoundError, UnavailableError
from service.metrics.null import NullTelemetry
from service.operations.learning_loop import committer as committer_module
from service.operations.learning_loop.committer import Committer
from service.operations.services import Services
from service.testing.services import with_parts
from tests.acceptance.harness import PHISHING, Deployment, phishing_events, wait_until
from tests.learned_model import LearnedModel, Unreachable, learn_all, learned_model


class CountingTelemetry(NullTelemetry):
    """Keeps which service could not be reached."""

    def __init__(self) -> None:
        self.unreachable: list[str] = []

    def service_unreachable(self, service: str) -> None:
        """Keep it."""
        self.unreachable.append(service)


def away(
    model: LearnedModel, operation: str, *, times: int, after_effect: bool = False
) -> tuple[Services, Unreachable]:
    """Return services whose checkpoints cannot be reached so many times."""
    checkpoints = Unreachable(model.services.registry.checkpoints, operation, times=times, after_effect=after_effect)
    return with_parts(model.services, checkpoints=checkpoints, telemetry=CountingTelemetry()), checkpoints


def committed(services: Services, model: LearnedModel, count: int, *, stop: Event | None = None) -> None:
    """Learn so many events and have them committed."""
    with model.session(services, stop=stop) as (session, source):
        source.put(phishing_events(count, first=source.next_offset))
        learn_all(session)
        session.commit_now()
        assert session.committer.outage is None


def sequences(model: LearnedModel) -> Sequence[int]:
    """Return the numbers of the champion's checkpoints, oldest first."""
    return [one.sequence for one in model.services.registry.checkpoints.newest_first(model.champion.id)][::-1]


def test_a_commit_is_tried_until_the_database_answers(model: LearnedModel) -> None:
    """Two failures delay a commit, are counted, and leave nothing behind."""
    services, checkpoints = away(model, "commit", times=2)
    committed(services, model, 10)
    assert (model.learned, sequences(model), checkpoints.calls) == (10, [0, 1], 3)
    assert isinstance(services.learner.telemetry, CountingTelemetry)
    assert services.learner.telemetry.unreachable == ["database"] * 2


def test_an_answer_that_was_lost_is_no_second_checkpoint(model: LearnedModel) -> None:
    """Where the commit went through and only its answer was lost, the checkpoint is found and not written again."""
    services, checkpoints = away(model, "commit", times=1, after_effect=True)
    committed(services, model, 10)
    assert (model.learned, sequences(model), checkpoints.calls) == (10, [0, 1], 1)
    committed(model.services, model, 5)
    assert (model.learned, sequences(model)) == (15, [0, 1, 2])


def test_an_outage_is_told_while_it_lasts(model: LearnedModel) -> None:
    """While commits fail the committer says since when and why; it is over with the first that succeeds."""
    services, checkpoints = away(model, "commit", times=10**6)
    with model.session(services) as (session, source):
        source.put(phishing_events(5))
        learn_all(session)
        with ThreadPoolExecutor(1) as aside:
            commit = aside.submit(session.commit_now)
            wait_until(lambda: session.committer.outage is not None, timeout_s=30, every_s=0.001)
            assert str(session.committer.outage) == "for 0 s: connection refused"
            assert not commit.done()
            checkpoints.left = 0
            commit.result(timeout=30)
        assert session.committer.outage is None


def test_a_stop_ends_the_retries(model: LearnedModel) -> None:
    """A process that is to end gives up a commit that the database does not take; what came before it stays."""
    stop = Event()
    stop.set()
    services, _ = away(model, "commit", times=10**6)
    with pytest.raises(UnavailableError, match="connection refused"):
        committed(services, model, 10, stop=stop)
    assert sequences(model) == [0]


def test_commands_that_cannot_be_read_wait(model: LearnedModel) -> None:
    """A poll during an outage finds none, and says that the database is away; the next one finds them."""
    asked = model.services.registry.commands.request(model.name, CommandKind.SNAPSHOT, arguments={}, actor="ann")
    services = with_parts(model.services, commands=Unreachable(model.services.registry.commands, "pending", times=1))
    with ThreadPoolExecutor(1) as pool:
        committer = Committer(services, pool, Event(), spec=model.spec)
        assert committer.poll_commands(model.name).result() == ()
        assert committer.outage is not None
        assert committer.poll_commands(model.name).result() == [asked]
        assert committer.outage is None


def test_a_lookup_of_what_waits_is_patient(model: LearnedModel) -> None:
    """A lookup for labels goes on trying, and finds nothing where nothing waits."""
    pending = Unreachable(model.services.registry.pending, "find", times=1)
    with ThreadPoolExecutor(1) as pool:
        committer = Committer(with_parts(model.services, pending=pending), pool, Event(), spec=model.spec)
        assert committer.find_pending(model.champion.id, ["a", "b"]).result(timeout=30) == {}
    assert pending.calls == 2


class TestRetention:
    """Old checkpoints go once a minute, beside commits."""

    @pytest.fixture(autouse=True)
    def _every_commit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(committer_module, "RETENTION_EVERY_S", 0.0)

    def test_it_follows_a_commit(self, model: LearnedModel) -> None:
        """Retention runs after the commit, and the process cleans up behind it."""
        cleaned: list[int] = []
        services, checkpoints = away(model, "apply_retention", times=0)
        committed(with_parts(services, clean_up=lambda: cleaned.append(model.learned)), model, 10)
        assert (checkpoints.calls, cleaned) == (1, [10])

    def test_a_retention_that_fails_fails_no_commit(self, model: LearnedModel) -> None:
        """What cannot be deleted now is deleted the next time."""
        services, checkpoints = away(model, "apply_retention", times=1)
        committed(services, model, 10)
        committed(services, model, 10)
        assert (model.learned, checkpoints.calls) == (20, 2)


class TestPredictions:
    """Predictions are sent after the commit that covers them."""

    @pytest.fixture
    def telling(self, tmp_path: Path) -> Iterator[LearnedModel]:
        """A model that publishes what it predicts."""
        spec = {**PHISHING, "checkpoint": {"every": "1h"}, "predictions": "phishing.predictions"}
        with learned_model(Deployment(tmp_path / "telling", spec)) as opened:
            yield opened

    def sent(self, model: LearnedModel) -> int:
        """Return how many predictions are in the topic; 0 before there is one."""
        source = model.services.streams.source("reader")
        try:
            return source.bounds(["phishing.predictions"])[TopicPartition("phishing.predictions", 0)].end
        except NotFoundError:
            return 0
        finally:
            source.close()

    def test_they_are_sent_after_the_commit(self, telling: LearnedModel) -> None:
        """None is sent before its commit, and each once after it; then nothing waits."""
        with telling.session() as (session, source):
            source.put(phishing_events(10))
            learn_all(session)
            assert self.sent(telling) == 0
            session.commit_now()
            wait_until(lambda: self.sent(telling) == 10, timeout_s=30, every_s=0.005)
            wait_until(
                lambda: not telling.services.registry.outbox.unsent(telling.name, limit=1), timeout_s=30, every_s=0.005
            )

    def test_a_broker_that_is_away_holds_up_nothing(self, telling: LearnedModel) -> None:
        """What cannot be sent stays with the registry, commits go on, and the next session sends it."""

        def no_sink() -> None:
            msg = "the broker is away"
            raise UnavailableError(msg)

        committed(with_parts(telling.services, sink=no_sink), telling, 10)
        assert (telling.learned, self.sent(telling)) == (10, 0)
        with telling.session():
            wait_until(lambda: self.sent(telling) == 10, timeout_s=30, every_s=0.005)
