"""A command is carried out by whoever writes the model, or by the process that asks where nobody does."""

from dataclasses import replace
from datetime import datetime
from threading import Timer

import pytest

from service.domain.registry.registry import Command, CommandKind, CommandStatus, ModelName
from service.errors import NotFoundError, RefusedError
from service.operations.commands.request import (
    execute_pending_commands,
    request_and_wait,
    request_command,
    require_outcome,
)
from service.operations.services import Services
from tests.learned_model import LearnedModel

KIND = CommandKind.SNAPSHOT


def elsewhere(model: LearnedModel) -> Services:
    """Return the same registry as another process has it."""
    return replace(model.services, holder="elsewhere")


def test_nobody_writes(model: LearnedModel) -> None:
    """Where no process has the lease, this one does what is asked, and gives the lease back."""
    command = request_command(model.services, model.name, kind=KIND, arguments={}, actor="ann", wait_s=0.0)
    assert (command.status, command.outcome) == (CommandStatus.DONE, "version 2")
    lease = model.services.registry.leases.acquire(model.champion.id, holder="elsewhere", ttl_s=1.0)
    assert lease.holder == "elsewhere"


def test_another_process_writes(model: LearnedModel) -> None:
    """Where another process has the lease, it is waited for no longer than was asked, and the command stays pending."""
    elsewhere(model).registry.leases.acquire(model.champion.id, holder="elsewhere", ttl_s=60.0)
    command = request_command(model.services, model.name, kind=KIND, arguments={}, actor="ann", wait_s=0.1)
    assert command.status is CommandStatus.PENDING
    assert model.services.registry.commands.pending(model.name) == [command]
    with pytest.raises(RefusedError, match=f"command {command.id} \\(snapshot\\) still waits .* after 0 s"):
        require_outcome(command, wait_s=0.1)


def test_the_owner_answers(model: LearnedModel) -> None:
    """What the owner has settled meanwhile is the answer."""
    elsewhere(model).registry.leases.acquire(model.champion.id, holder="elsewhere", ttl_s=60.0)

    def settle() -> None:
        (command,) = model.services.registry.commands.pending(model.name)
        model.services.registry.commands.settle(command.id, status=CommandStatus.REFUSED, outcome="not today")

    timer = Timer(0.1, settle)
    timer.start()
    with pytest.raises(RefusedError, match="not today"):
        request_and_wait(model.services, model.name, kind=KIND, arguments={}, actor="ann", wait_s=20.0)
    timer.join()


def test_what_waited_is_done_first(model: LearnedModel) -> None:
    """All that was asked for before is carried out too, oldest first."""
    first = model.services.registry.commands.request(model.name, KIND, arguments={"alias": "first"}, actor="ann")
    second = request_command(
        model.services, model.name, kind=KIND, arguments={"alias": "second"}, actor="ann", wait_s=0.0
    )
    assert (model.services.registry.commands.get(first.id).outcome, second.outcome) == ("version 2", "version 3")


def test_each_command_meets_the_champion_that_the_one_before_has_made(model: LearnedModel) -> None:
    """After a rollback the next command works on the new champion, and neither lease is kept."""
    model.learn(10)
    for kind, arguments in [(CommandKind.ROLLBACK, {"to": "1"}), (KIND, {})]:
        model.services.registry.commands.request(model.name, kind, arguments=arguments, actor="ann")
    before = model.champion.id
    assert execute_pending_commands(model.services, model.name, before)
    versions = model.services.registry.history.versions(model.name)
    assert [one.lineage for one in versions] == [before, model.champion.id, model.champion.id]
    assert (
        model.services.registry.leases.acquire(model.champion.id, holder="elsewhere", ttl_s=1.0).holder == "elsewhere"
    )


def test_an_unknown_model(model: LearnedModel) -> None:
    """Nothing is asked of a model that is not there."""
    with pytest.raises(NotFoundError, match="others"):
        request_command(model.services, "others", kind=KIND, arguments={}, actor="ann", wait_s=0.0)


@pytest.mark.parametrize(
    ("status", "outcome"), [(CommandStatus.DONE, "version 7"), (CommandStatus.REFUSED, "found nothing to do")]
)
def test_outcomes(status: CommandStatus, outcome: str) -> None:
    """What was done is returned, and what was refused is raised, each in the words of who settled it."""
    command = Command(1, ModelName("m"), KIND, {}, status, "ann", datetime.min, outcome)  # noqa: DTZ901 - not looked at
    if status is CommandStatus.DONE:
        assert require_outcome(command, wait_s=1.0) == outcome
    else:
        with pytest.raises(RefusedError, match=outcome):
            require_outcome(command, wait_s=1.0)
