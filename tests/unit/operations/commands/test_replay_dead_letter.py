"""A dead letter is learned again by the session of its model, once, and where it can be learned."""

from typing import Any

import msgspec

from service.domain.registry.registry import Command, CommandKind, CommandStatus
from service.domain.stream.events import TopicPartition
from service.operations.commands.execute import execute_command
from tests.acceptance.harness import phishing_events
from tests.learned_model import LearnedModel, learn_all, refused


def replayed(model: LearnedModel, letter: int, *, times: int = 1) -> Command:
    """Return the command that a session was last given to learn the dead letter again."""
    with model.session() as (session, _):
        for _ in range(times):
            command = model.services.registry.commands.request(
                model.name, CommandKind.REPLAY_DEAD_LETTER, arguments={"id": letter}, actor="ann"
            )
            execute_command(model.services, command, session.lease, session=session)
    return model.services.registry.commands.get(command.id)


def with_settings(model: LearnedModel, **changes: Any) -> None:
    """Apply the specification with these settings."""
    model.run(CommandKind.APPLY, spec={**model.spec.model_dump(mode="json"), **changes})


def event_with_extra_features() -> bytes:
    """Return an event that has more features than a guard of 20 allows."""
    event = msgspec.json.decode(phishing_events(1)[0])
    return msgspec.json.encode({**event, "x": {**event["x"], **{f"extra{number}": 1.0 for number in range(20)}}})


def test_it_is_learned_and_marked(model: LearnedModel) -> None:
    """What a stricter guard has refused is learned once the guard allows it, and is marked with the commit."""
    with_settings(model, guard={"max_features": 20})
    letter = refused(model, event_with_extra_features())
    with_settings(model, guard={"max_features": 100})
    command = replayed(model, letter)
    assert (command.status, command.outcome) == (CommandStatus.DONE, f"dead letter {letter}: {{'learned': 1}}")
    assert model.services.registry.dead_letters.get(model.name, letter).replayed_at is not None
    assert model.learned == 1


def test_it_is_learned_once(model: LearnedModel) -> None:
    """A dead letter that was learned after all is refused the second time."""
    with_settings(model, guard={"max_features": 20})
    letter = refused(model, event_with_extra_features())
    with_settings(model, guard={"max_features": 100})
    command = replayed(model, letter, times=2)
    assert command.status is CommandStatus.REFUSED
    assert "it is learned once" in command.outcome
    assert model.learned == 1


def test_what_is_as_wrong_as_before_stays_a_dead_letter(model: LearnedModel) -> None:
    """A record that is refused again says for which reason, and is not marked."""
    letter = refused(model, b"{")
    command = replayed(model, letter)
    assert command.status is CommandStatus.REFUSED
    assert command.outcome.startswith("refused again: not_json: ")
    assert model.services.registry.dead_letters.get(model.name, letter).replayed_at is None


def test_half_a_payload_is_not_learned(model: LearnedModel) -> None:
    """Of a record that was larger than what is kept, nothing is guessed."""
    with_settings(model, dead_letters={"max_payload": 10})
    letter = refused(model, b"{" * 30)
    assert "keeps 10 of its 30 bytes, so it cannot be learned" in replayed(model, letter).outcome


def test_what_killed_a_process_is_not_learned(model: LearnedModel) -> None:
    """A record that has killed a learner would kill this one."""
    killers = frozenset({(TopicPartition(model.spec.events, 0), 0)})
    letter = refused(model, phishing_events(1)[0], known_killers=killers)
    assert "would kill this one; publish it again" in replayed(model, letter).outcome
    assert model.learned == 0


def test_nobody_learns_it_without_a_learner(model: LearnedModel) -> None:
    """A process that only changes the registry refuses, and names the command that learns."""
    letter = refused(model, b"{")
    command = model.services.registry.commands.request(
        model.name, CommandKind.REPLAY_DEAD_LETTER, arguments={"id": letter}, actor="ann"
    )
    execute_command(model.services, command, model.lease())
    assert f"start `headrace learn {model.name}` first" in model.services.registry.commands.get(command.id).outcome


def test_one_that_is_not_there(model: LearnedModel) -> None:
    """An unknown number is refused, and the session goes on."""
    with model.session() as (session, source):
        command = model.services.registry.commands.request(
            model.name, CommandKind.REPLAY_DEAD_LETTER, arguments={"id": 77}, actor="ann"
        )
        execute_command(model.services, command, session.lease, session=session)
        source.put(phishing_events(1))
        learn_all(session)
        session.commit_now()
    settled = model.services.registry.commands.get(command.id)
    assert settled.status is CommandStatus.REFUSED
    assert "77" in settled.outcome
    assert model.learned == 1
