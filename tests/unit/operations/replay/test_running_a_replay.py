"""A replaying lineage learns the champion's history again, and takes its place or gives up."""

from threading import Event

import pytest

from service.domain.registry.registry import ChangeOrigin, CommandKind, Lineage, LineageRole
from service.domain.registry.replay_plan import ReplayPlan
from service.errors import LeaseHeldError, RefusedError
from service.operations.history.exclusions import record_exclusion
from service.operations.replay.plan import register_replay
from service.operations.replay.remaining import RemainingWork
from service.operations.replay.rollback_request import RollbackRequest, planned
from service.operations.replay.run import OffsetProgress, has_taken_over, run_replay
from tests.learned_model import LearnedModel


@pytest.fixture
def replaying(model: LearnedModel) -> Lineage:
    """A lineage that is to learn thirty events without three."""
    model.learn(10)
    model.learn(20)
    request = RollbackRequest(exclude=["15..18"])
    return register_replay(
        model.services, planned(model.services, model.name, request), origin=ChangeOrigin("ann", "wrong")
    )


def remaining(model: LearnedModel, lineage: Lineage) -> RemainingWork:
    """Return what the lineage has still to learn."""
    assert lineage.plan is not None
    return RemainingWork(model.services, model.name, lineage.id, plan=ReplayPlan.from_json(lineage.plan))


def test_it_takes_over(model: LearnedModel, replaying: Lineage) -> None:
    """A replay that is through becomes champion, with all that was learned but what is left out."""
    progress: list[OffsetProgress] = []
    outcome = run_replay(model.services, replaying, stop=Event(), on_progress=progress.append)
    assert outcome is not None
    assert "replays from checkpoint 1" in outcome
    assert "without phishing.events/0:15..18" in outcome
    assert has_taken_over(model.services, replaying)
    assert model.learned == 27
    assert (progress[-1].done, progress[-1].total) == (17, 17)


def test_it_goes_on_behind_the_champion(model: LearnedModel, replaying: Lineage) -> None:
    """What the champion learns while a replay is planned is learned by the replay as well."""
    model.learn(5)
    run_replay(model.services, replaying, stop=Event())
    assert model.learned == 32
    model.learn(5)
    assert model.learned == 37


def test_a_stop_is_no_end(model: LearnedModel, replaying: Lineage) -> None:
    """A replay that is told to stop stays what it is, and the next run goes on with it."""
    stop = Event()
    stop.set()
    assert run_replay(model.services, replaying, stop=stop) is None
    assert not has_taken_over(model.services, replaying)
    assert [one.id for one in model.services.registry.replays.unfinished()] == [replaying.id]
    assert model.services.registry.leases.acquire(replaying.id, holder="elsewhere", ttl_s=1.0).holder == "elsewhere"


def test_another_process_is_at_it(model: LearnedModel, replaying: Lineage) -> None:
    """Two processes do not learn one replay."""
    model.services.registry.leases.acquire(replaying.id, holder="elsewhere", ttl_s=60.0)
    with pytest.raises(LeaseHeldError, match="elsewhere"):
        run_replay(model.services, replaying, stop=Event())


def test_a_champion_that_has_changed_ends_it(model: LearnedModel, replaying: Lineage) -> None:
    """A replay whose champion was replaced has become pointless: it is refused, and cancelled."""
    model.run(CommandKind.ROLLBACK, to="1")
    with pytest.raises(RefusedError, match=r"found another champion .* ask for the rollback again"):
        run_replay(model.services, replaying, stop=Event())
    assert model.services.registry.replays.unfinished() == []
    assert model.services.registry.history.lineage(model.name, replaying.id).role is LineageRole.RETIRED


def test_only_what_replays_is_run(model: LearnedModel) -> None:
    """A lineage that has no plan is no replay."""
    with pytest.raises(RefusedError, match="expected one that replays"):
        run_replay(model.services, model.champion, stop=Event())


class TestRemainingWork:
    """What a replay is still to learn, asked again and again."""

    def test_what_was_read_is_not_read_again(self, model: LearnedModel, replaying: Lineage) -> None:
        """Each segment is what the champion has learned behind what was read."""
        work = remaining(model, replaying)
        first = work.next_segment([])
        assert [(run.first, run.last) for run in first.runs] == [(10, 15), (18, 30)]
        model.learn(4)
        assert [(run.first, run.last) for run in work.next_segment(first.runs).runs] == [(30, 34)]

    def test_an_exclusion_of_what_was_read_ends_it(self, model: LearnedModel, replaying: Lineage) -> None:
        """What is excluded after the replay has read it cannot be unlearned."""
        work = remaining(model, replaying)
        first = work.next_segment([])
        record_exclusion(model.services, model.name, "20..22", actor="bob", reason="late")
        with pytest.raises(RefusedError, match=r"20\.\.22 excluded after this replay of phishing had learned it"):
            work.next_segment(first.runs)

    def test_an_exclusion_of_what_is_to_come_is_left_out(self, model: LearnedModel, replaying: Lineage) -> None:
        """What is excluded in time is not learned."""
        work = remaining(model, replaying)
        record_exclusion(model.services, model.name, "20..22", actor="bob", reason="late")
        assert [(run.first, run.last) for run in work.next_segment([]).runs] == [(10, 15), (18, 20), (22, 30)]

    def test_what_is_allowed_again_stays_left_out(self, model: LearnedModel, replaying: Lineage) -> None:
        """A replay leaves out what it was planned without, even if the exclusion was removed since."""
        (exclusion,) = model.services.registry.exclusions.list(model.name)
        model.services.registry.exclusions.remove(model.name, exclusion.id, actor="bob", reason="fine after all")
        work = remaining(model, replaying)
        assert [(run.first, run.last) for run in work.next_segment([]).runs] == [(10, 15), (18, 30)]


@pytest.mark.parametrize(
    ("done", "total", "elapsed_s", "left_s"), [(0, 100, 5.0, None), (25, 100, 5.0, 15.0), (9, 9, 3.0, 0.0)]
)
def test_how_long_it_takes(done: int, total: int, elapsed_s: float, left_s: float | None) -> None:
    """The rest is reckoned at the rate so far, once there is one."""
    assert OffsetProgress(done, total, elapsed_s).remaining_s == left_s
