"""One session from its feed to durable checkpoints: what a step learns, what a commit keeps, and what stops it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.domain.registry.registry import CommandKind
from service.domain.stream.events import RefusalReason, TopicPartition
from service.domain.stream.exclusion import Exclusion
from service.domain.stream.position import OffsetRange
from service.errors import ChallengerUnfitError, LeaseLostError
from service.operations.learning_loop import session as session_module
from service.operations.learning_loop.refusals import REFUSAL_SAMPLE_RECORDS
from tests.acceptance.harness import PHISHING, Deployment, phishing_events, wait_until
from tests.learned_model import LearnedModel, learn_all, learned_model

AT = TopicPartition(PHISHING["events"], 0)


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[LearnedModel]:
    """A model that is to commit as often as it can."""
    spec = {**PHISHING, "checkpoint": {"every": "1ms", "max_share": 1.0}}
    with learned_model(Deployment(tmp_path / "quick", spec)) as opened:
        yield opened


def audit(model: LearnedModel) -> list[tuple[str, str]]:
    """Return who did what."""
    return [(one.actor, one.action) for one in model.services.registry.history.audit(model.name)]


def test_nothing_is_durable_before_the_commit(model: LearnedModel) -> None:
    """What was learned is kept with the commit, and only then acknowledged to the stream."""
    with model.session() as (session, source):
        source.put(phishing_events(30))
        learn_all(session)
        assert (session.processed, session.position.offsets[AT], model.learned) == (30, 30, 0)
        assert source.acknowledged == []
        session.commit_now()
        assert model.learned == 30
        assert [one.offsets[AT] for one in source.acknowledged] == [30]


def test_a_step_without_records(model: LearnedModel) -> None:
    """Where nothing came there is nothing to learn, and nothing to commit."""
    with model.session() as (session, _):
        assert not session.step()
        session.commit_now()
    newest = model.services.registry.checkpoints.newest(model.champion.id)
    assert newest is not None
    assert newest.sequence == 0


def test_what_was_not_committed_is_learned_again(model: LearnedModel) -> None:
    """A session that dies between commits leaves the state as if it had not been: the next comes to the same."""
    events = phishing_events(60)
    with model.session() as (session, source):
        source.put(events[:20])
        learn_all(session)
        session.commit_now()
        source.put(events[20:45])
        learn_all(session)
        report = session.learner.report()
    with model.session() as (session, source):
        assert (source.next_offset, session.learner.counts["learned"]) == (20, 20)
        source.put(events[20:45])
        learn_all(session)
        assert session.learner.report() == report


def test_a_lost_lease_stops_the_session(model: LearnedModel) -> None:
    """Once the lease is known to be lost, no step learns and nothing is written."""
    with model.session() as (session, source):
        source.put(phishing_events(5))
        session.lease_lost = True
        with pytest.raises(LeaseLostError, match=f"the lease of {model.name} was taken by another process"):
            session.step()
        assert session.processed == 0


def test_a_commit_proves_the_lease(model: LearnedModel) -> None:
    """A session that does not know yet that another process took its lease cannot commit."""
    with model.session() as (session, source):
        model.services.registry.leases.release(session.lease)
        taken = model.services.registry.leases.acquire(session.lease.lineage, holder="elsewhere", ttl_s=60.0)
        source.put(phishing_events(5))
        learn_all(session)
        with pytest.raises(LeaseLostError):
            session.commit_now()
        model.services.registry.leases.release(taken)
    assert model.learned == 0


def test_a_failed_feed_is_raised_by_the_step(model: LearnedModel) -> None:
    """What has stopped the reader of the stream stops the session, by its own error."""
    with model.session() as (session, source):
        source.failure = ZeroDivisionError("from the reader")
        with pytest.raises(ZeroDivisionError, match="from the reader"):
            session.step()


def test_skipped_offsets_move_the_position(model: LearnedModel) -> None:
    """Offsets that are passed over are no events, and are committed as passed."""
    with model.session() as (session, source):
        source.skip(40)
        assert session.step()
        session.commit_now()
        assert (session.processed, session.learner.counts["learned"]) == (0, 0)
    newest = model.services.registry.checkpoints.newest(model.champion.id)
    assert newest is not None
    assert newest.position.offsets == {AT: 40}


def test_lag_and_ends(model: LearnedModel) -> None:
    """The lag is what the stream holds beyond the position; an end is reached when all before it is learned."""
    with model.session() as (session, source):
        source.put(phishing_events(30))
        assert session.lag() == {AT: 30}
        assert [session.has_reached({AT: end}) for end in (0, 1)] == [True, False]
        learn_all(session)
        assert session.lag() == {AT: 0}
        assert [session.has_reached(ends) for ends in ({AT: 30}, {AT: 31}, {})] == [True, False, True]


def test_checkpoints_come_by_time(quick: LearnedModel) -> None:
    """A step commits by itself when the interval has passed, and does not wait for the commit."""
    with quick.session() as (session, source):

        def committed() -> bool:
            session.step()
            return quick.learned == 10

        source.put(phishing_events(10))
        wait_until(committed, timeout_s=30, every_s=0.001)


def test_commands_are_found_while_there_is_nothing_to_commit(quick: LearnedModel) -> None:
    """A command that comes when the stream is silent is seen at the next poll."""
    with quick.session() as (session, _):
        asked = quick.services.registry.commands.request(quick.name, CommandKind.SNAPSHOT, arguments={}, actor="ann")

        def found() -> bool:
            session.step()
            return bool(session.commands)

        wait_until(found, timeout_s=30, every_s=0.001)
        assert session.commands == [asked]


def test_commands_come_with_a_commit(model: LearnedModel) -> None:
    """Each commit brings along the commands that waited at that moment."""
    asked = model.services.registry.commands.request(model.name, CommandKind.SNAPSHOT, arguments={}, actor="ann")
    with model.session() as (session, source):
        source.put(phishing_events(3))
        learn_all(session)
        assert session.commands == []
        session.commit_now()
        assert session.commands == [asked]


def test_exclusions_reach_a_running_session(model: LearnedModel) -> None:
    """What is excluded while a session runs is left out from the next commit on."""
    with model.session() as (session, source):
        source.put(phishing_events(10))
        learn_all(session)
        model.services.registry.exclusions.add(model.name, Exclusion(OffsetRange(AT.topic, 0, 12, 15), "wrong", "ann"))
        session.commit_now()
        source.put(phishing_events(10, first=10))
        learn_all(session)
        assert session.learner.counts["learned"] == 17
        assert session.position.offsets[AT] == 20


class TestRefusals:
    """What a session does where much of what comes is refused."""

    def test_too_many_freeze_the_champion(self, model: LearnedModel) -> None:
        """A champion stops where most of a thousand records are refused, and the registry says why."""
        with model.session() as (session, source):
            source.put([b"{"] * REFUSAL_SAMPLE_RECORDS)
            source.put(phishing_events(5))
            learn_all(session)
            assert session.frozen
            assert session.pause_reason.startswith("100% of the last events were refused, more than max_refused_share")
            assert not session.step()
            session.commit_now()
            wait_until(lambda: model.registered.frozen, timeout_s=30)
        assert audit(model)[-1] == ("learner", "freeze")
        assert model.services.registry.dead_letters.counts(model.name) == {
            RefusalReason.NOT_JSON: REFUSAL_SAMPLE_RECORDS
        }

    def test_half_does_not(self, model: LearnedModel) -> None:
        """A share at the limit is no reason to stop."""
        events = phishing_events(REFUSAL_SAMPLE_RECORDS // 2)
        with model.session() as (session, source):
            source.put([one for pair in zip(events, [b"{"] * len(events), strict=True) for one in pair])
            learn_all(session)
            assert not session.frozen
            session.commit_now()
        assert model.learned == len(events)

    def test_a_freeze_that_cannot_be_recorded(self, model: LearnedModel) -> None:
        """Whoever has lost the lease stops learning all the same, and leaves the registry as it is."""
        with model.session() as (session, source):
            model.services.registry.leases.release(session.lease)
            taken = model.services.registry.leases.acquire(session.lease.lineage, holder="elsewhere", ttl_s=60.0)
            source.put([b"{"] * REFUSAL_SAMPLE_RECORDS)
            learn_all(session)
            assert session.frozen
        model.services.registry.leases.release(taken)
        assert not model.registered.frozen

    def test_a_challenger_whose_estimator_fails_is_unfit(
        self, model: LearnedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A challenger that refuses most events through its own estimator ends; no letters are kept of it."""
        factory = {"factory": "tests.acceptance.moody:MisbehavingEstimator", "estimator": None}
        model.run(CommandKind.APPLY, spec={**model.spec.model_dump(mode="json"), **factory})
        (challenger,) = model.services.registry.challengers.list(model.name)
        folder = model.deployment.folder
        (folder / "mood").write_text("throw", encoding="utf-8")
        monkeypatch.chdir(folder)
        lineage = model.services.registry.history.lineage(model.name, challenger.lineage)
        with model.session(lineage=lineage) as (session, source):
            source.put(phishing_events(REFUSAL_SAMPLE_RECORDS))
            with pytest.raises(ChallengerUnfitError, match="100% of the last events refused by its estimator"):
                learn_all(session)
        assert model.services.registry.dead_letters.counts(model.name) == {}
        assert not model.registered.frozen


def test_what_waits_for_its_commit_throttles(model: LearnedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of more events than may be lost hold up learning until they are durable."""
    monkeypatch.setattr(session_module, "MAX_UNCOMMITTED_SCORES", 100)
    with model.session() as (session, source):
        for first in range(0, 300, 60):
            source.put(phishing_events(60, first=first))
        learn_all(session)
        assert session.is_throttled
        assert session.position.offsets[AT] == 120
        session.commit_now()
        assert not session.is_throttled
        learn_all(session)
        assert session.position.offsets[AT] == 240
