"""Commands of a session are carried out aside, in order, each between two commits."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from service.domain.registry.registry import Command, CommandKind, CommandStatus, Lease
from service.errors import UnavailableError
from service.operations.learning_loop.command_runner import CommandRunner
from service.operations.learning_loop.session import Session
from service.operations.services import Services
from service.testing.services import with_parts
from tests.acceptance.harness import phishing_events
from tests.learned_model import LearnedModel, Unreachable, learn_all


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """The thread that carries commands out."""
    with ThreadPoolExecutor(1) as opened:
        yield opened


def asked(model: LearnedModel, kind: CommandKind, **arguments: str) -> Command:
    """Return a command that waits."""
    return model.services.registry.commands.request(model.name, kind, arguments=arguments, actor="ann")


def finished(runner: CommandRunner, session: Session) -> Lease:
    """Have the session's commands carried out, and return the lease to go on with."""
    runner.start(session)
    runner.wait()
    lease = runner.finished(session)
    assert lease is not None
    assert not runner.busy
    return lease


def test_what_was_learned_is_in_a_snapshot(model: LearnedModel, pool: ThreadPoolExecutor) -> None:
    """A command meets a commit of everything that the session has learned by then."""
    with model.session() as (session, source):
        source.put(phishing_events(20))
        learn_all(session)
        session.commands = [asked(model, CommandKind.SNAPSHOT)]
        assert finished(CommandRunner(model.services, pool), session) == session.lease
    version = model.services.registry.history.version(model.name, 2)
    assert [run.last for run in version.learned] == [20]


def test_what_follows_a_new_lineage_waits(model: LearnedModel, pool: ThreadPoolExecutor) -> None:
    """Behind a command that has made a new champion the others stay pending: they are its business."""
    with model.session() as (session, _):
        session.commands = [asked(model, CommandKind.ROLLBACK, to="1"), asked(model, CommandKind.SNAPSHOT)]
        lease = finished(CommandRunner(model.services, pool), session)
        assert lease.lineage == model.champion.id != session.lease.lineage
    assert [one.kind for one in model.services.registry.commands.pending(model.name)] == [CommandKind.SNAPSHOT]


def test_a_session_is_busy_until_it_is_taken_back(model: LearnedModel, pool: ThreadPoolExecutor) -> None:
    """While commands are under way nobody has the lease to go on with, and the session counts as busy."""
    hold = Event()
    pool.submit(hold.wait)
    runner = CommandRunner(model.services, pool)
    with model.session() as (session, _):
        session.commands = [asked(model, CommandKind.FREEZE)]
        assert (runner.busy, runner.has(session)) == (False, False)
        runner.start(session)
        assert (runner.busy, runner.has(session), runner.finished(session)) == (True, True, None)
        hold.set()
        runner.wait()
        assert runner.has(session)
        assert runner.finished(session) == session.lease
        assert (runner.busy, session.frozen) == (False, True)


def test_what_a_command_raised_is_raised_to_the_session(model: LearnedModel, pool: ThreadPoolExecutor) -> None:
    """An outage during a command reaches whoever takes the session back, once; the command stays pending."""
    services: Services = with_parts(
        model.services, changes=Unreachable(model.services.registry.changes, "set_frozen", times=1)
    )
    runner = CommandRunner(services, pool)
    with model.session(services) as (session, _):
        command = asked(model, CommandKind.FREEZE)
        session.commands = [command]
        runner.start(session)
        runner.wait()
        with pytest.raises(UnavailableError):
            runner.finished(session)
        assert not runner.has(session)
    assert services.registry.commands.get(command.id).status is CommandStatus.PENDING
