"""Each kind of command is carried out once, and what may not be done is refused with a sentence."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from service.domain.registry.challenger import ChallengerStage
from service.domain.registry.registry import CommandKind, CommandStatus, LineageRole, VersionKind
from service.domain.stream.events import TopicPartition
from service.errors import LeaseLostError, RefusedError, UnavailableError
from service.operations.commands.execute import execute_command
from service.testing.services import with_parts
from tests.learned_model import LearnedModel, Unreachable

KIND = CommandKind


def applied(model: LearnedModel, changes: Mapping[str, Any]) -> str:
    """Return what became of a specification with these changes."""
    return model.run(KIND.APPLY, spec={**model.spec.model_dump(mode="json"), **changes})


def test_a_snapshot_is_a_version_of_the_newest_checkpoint(model: LearnedModel) -> None:
    """A snapshot names what was learned so far, gets the alias that was asked for, and changes no lineage."""
    model.learn(20)
    assert model.run(KIND.SNAPSHOT, alias="friday") == "version 2"
    version = model.services.registry.history.version(model.name, 2)
    assert (version.kind, version.lineage, version.parent) == (VersionKind.SNAPSHOT, model.champion.id, 1)
    assert model.services.registry.history.aliases(model.name) == {"friday": 2}


def test_a_rollback_serves_the_old_state_at_the_present_position(model: LearnedModel) -> None:
    """A restoring rollback begins a lineage with the version's estimator where the champion stands in the stream."""
    model.learn(20)
    model.run(KIND.SNAPSHOT)
    model.learn(30)
    before = model.champion
    outcome = model.run(KIND.ROLLBACK, to="2", reason="worse")
    assert outcome.startswith("version 3 restores version 2 at ")
    version, newest = (
        model.services.registry.history.version(model.name, 3),
        model.services.registry.checkpoints.newest(model.champion.id),
    )
    assert (version.kind, version.parent, version.created_by, version.reason) == (
        VersionKind.ROLLBACK,
        2,
        "ann",
        "worse",
    )
    assert [run.last for run in version.learned] == [20]
    assert newest is not None
    assert newest.position.offsets == {TopicPartition(model.spec.events, 0): 50}
    assert model.services.registry.history.lineage(model.name, before.id).role is LineageRole.RETIRED


def test_a_rollback_to_what_is_not_there_is_refused(model: LearnedModel) -> None:
    """An unknown version is refused by name, and the champion stays."""
    before = model.champion
    with pytest.raises(RefusedError, match="9"):
        model.run(KIND.ROLLBACK, to="9")
    assert model.champion == before


def test_a_rollback_keeps_the_settings_of_today(model: LearnedModel) -> None:
    """How often checkpoints are made is the operator's wish of now, and no part of what is restored."""
    model.learn(10)
    model.run(KIND.SNAPSHOT)
    applied(model, {"checkpoint": {**model.spec.checkpoint.model_dump(mode="json"), "every": 7.0}})
    model.run(KIND.ROLLBACK, to="1")
    newest = model.services.registry.history.newest_version(model.name, model.champion.id)
    assert newest.spec["checkpoint"]["every"] == 7.0


def test_freezing_reaches_registry_and_session(model: LearnedModel) -> None:
    """A freeze is a fact of the registry and stops the session at once, with its reason; unfreezing undoes both."""
    with model.session() as (session, source):
        for kind, frozen in [(KIND.FREEZE, True), (KIND.UNFREEZE, False)]:
            command = model.services.registry.commands.request(
                model.name, kind, arguments={"reason": "look"}, actor="ann"
            )
            execute_command(model.services, command, session.lease, session=session)
            assert (session.frozen, session.pause_reason, model.registered.frozen) == (frozen, "look", frozen)
            source.put([b"{"])
            assert session.step() is not frozen


def test_applying_nothing_new_changes_nothing(model: LearnedModel) -> None:
    """A specification that says the same makes no version."""
    assert applied(model, {}) == "nothing has changed"
    assert len(model.services.registry.history.versions(model.name)) == 1


def test_applying_settings_goes_on_with_the_same_state(model: LearnedModel) -> None:
    """A change of what may change goes on in a lineage of its own with all that was learned, and is registered."""
    model.learn(20)
    before, spec = model.champion, {**model.spec.model_dump(mode="json"), "scores": {"keep": 60.0}}
    assert model.run(KIND.APPLY, spec=spec) == "version 2 goes on with new scores"
    assert model.champion.id != before.id
    assert (model.learned, model.registered.spec["scores"]) == (20, {"keep": 60.0})
    model.learn(5)
    assert model.learned == 25


def test_applying_another_estimator_begins_a_challenger(model: LearnedModel) -> None:
    """A change of the model itself is tried beside the champion, from where the champion began."""
    model.learn(20)
    before = model.champion
    outcome = applied(model, {"estimator": ["preprocessing.StandardScaler", "linear_model.Perceptron"]})
    assert outcome == "version 2 challenges with new estimator"
    (challenger,) = model.services.registry.challengers.list(model.name)
    newest = model.services.registry.checkpoints.newest(challenger.lineage)
    assert (challenger.stage, challenger.version, model.champion) == (ChallengerStage.CATCHING_UP, 2, before)
    assert newest is not None
    assert newest.position.offsets == {TopicPartition(model.spec.events, 0): 0}


@pytest.mark.parametrize("changes", [{"events": "others"}, {"events": "others", "labels": "answers"}])
def test_applying_another_stream_is_refused(model: LearnedModel, changes: Mapping[str, Any]) -> None:
    """What predicts something else has no events in common with the champion; the refusal names keys and a way out."""
    with pytest.raises(RefusedError, match=f"found changes in {', '.join(sorted(changes))}, .*--fresh"):
        applied(model, changes)


def test_a_challenger_of_another_champion_is_not_promoted(model: LearnedModel) -> None:
    """A challenger that was compared with another champion than the present one is compared anew."""
    applied(model, {"estimator": ["linear_model.Perceptron"]})
    (challenger,) = model.services.registry.challengers.list(model.name)
    with pytest.raises(RefusedError, match="expected 99, with which the challenger was compared; it will be compared"):
        model.run(KIND.PROMOTE, lineage=challenger.lineage, champion=99)


def test_a_challenger_takes_over(model: LearnedModel) -> None:
    """A promotion makes the challenger champion, retires the old one, and hands back the new lineage's lease."""
    before = model.champion
    applied(model, {"estimator": ["linear_model.Perceptron"]})
    (challenger,) = model.services.registry.challengers.list(model.name)
    lease = model.lease()
    command = model.services.registry.commands.request(
        model.name, KIND.PROMOTE, arguments={"lineage": challenger.lineage, "evidence": {"lower": 0.1}}, actor="trainer"
    )
    following = execute_command(model.services, command, lease)
    assert (following.lineage, model.champion.id) == (challenger.lineage, challenger.lineage)
    assert model.services.registry.history.lineage(model.name, before.id).role is LineageRole.RETIRED
    assert model.services.registry.history.audit(model.name)[-1].evidence["lower"] == 0.1


def test_a_settled_command_is_not_repeated(model: LearnedModel) -> None:
    """A command that two processes have read is carried out once."""
    command = model.services.registry.commands.request(model.name, KIND.SNAPSHOT, arguments={}, actor="ann")
    lease = model.lease()
    for _ in range(2):
        assert execute_command(model.services, command, lease) == lease
    assert len(model.services.registry.history.versions(model.name)) == 2


def test_a_command_waits_while_the_database_is_away(model: LearnedModel) -> None:
    """What failed for want of the database is no refusal: the command is pending still, and is done the next time."""
    changes = Unreachable(model.services.registry.changes, "snapshot", times=1)
    services = with_parts(model.services, changes=changes)
    command = services.registry.commands.request(model.name, KIND.SNAPSHOT, arguments={}, actor="ann")
    lease = model.lease()
    with pytest.raises(UnavailableError):
        execute_command(services, command, lease)
    assert services.registry.commands.get(command.id).status is CommandStatus.PENDING
    execute_command(services, command, lease)
    assert services.registry.commands.get(command.id).outcome == "version 2"


def test_a_command_outlives_a_lost_lease(model: LearnedModel) -> None:
    """Who has lost the lease changes nothing and settles nothing: the new holder is to do it."""
    command = model.services.registry.commands.request(model.name, KIND.SNAPSHOT, arguments={}, actor="ann")
    lease = model.lease()
    with pytest.raises(LeaseLostError):
        execute_command(model.services, command, replace(lease, epoch=lease.epoch + 1))
    assert model.services.registry.commands.get(command.id).status is CommandStatus.PENDING


def test_a_fault_of_the_program_settles_the_command(model: LearnedModel) -> None:
    """A command that breaks the program is refused with the name of the fault, and never tried again."""
    command = model.services.registry.commands.request(model.name, KIND.PROMOTE, arguments={}, actor="ann")
    with pytest.raises(KeyError):
        execute_command(model.services, command, model.lease())
    settled = model.services.registry.commands.get(command.id)
    assert settled.status is CommandStatus.REFUSED
    assert settled.outcome.startswith("failed with KeyError: ")
