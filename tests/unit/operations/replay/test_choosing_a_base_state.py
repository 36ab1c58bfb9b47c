"""With which state a rollback by replay begins, over what it leads, and what it refuses."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from service.domain.registry.registry import ChangeOrigin, CommandKind, LineageRole
from service.domain.stream.events import TopicPartition
from service.domain.stream.position import OffsetBounds, OffsetRange
from service.errors import BelowStartError, NotFoundError, RefusedError, TamperedError
from service.operations.replay import plan as planning
from service.operations.replay.base_state import open_base_state
from service.operations.replay.plan import (
    RollbackOptions,
    RollbackPlan,
    plan_rollback,
    register_replay,
    rollback_summary,
    start_rollback_replay,
)
from service.operations.replay.rollback_request import RollbackRequest, planned
from service.operations.states.lineage_tree import known_states, load_lineage_tree
from service.operations.states.resolve import resolve_state
from service.ports.stream import Source
from service.testing.services import with_parts
from tests.learned_model import LearnedModel, Unreadable

TOPIC = "phishing.events"


@pytest.fixture
def history(model: LearnedModel) -> LearnedModel:
    """Thirty events in three checkpoints, of which the first is version 2, and the third version 3."""
    model.learn(10)
    model.run(CommandKind.SNAPSHOT)
    model.learn(10)
    model.learn(10)
    model.run(CommandKind.SNAPSHOT)
    return model


def excluding(model: LearnedModel, *texts: str, **options: Any) -> RollbackPlan:
    """Return the plan of a rollback that leaves these ranges out."""
    return planned(model.services, model.name, RollbackRequest(exclude=texts, **options))


def offsets(runs: Sequence[OffsetRange]) -> list[tuple[int, int]]:
    """Return the runs' bounds."""
    return [(run.first, run.last) for run in runs]


CASES: list[tuple[str, Mapping[str, Any], str, list[tuple[int, int]], int]] = [
    ("the last events", {"exclude": ["25..28"]}, "checkpoint 2", [(20, 25), (28, 30)], 3),
    ("in the second checkpoint", {"exclude": ["15..16"]}, "version 2", [(10, 15), (16, 30)], 1),
    ("the first event", {"exclude": ["0..1"]}, "version 1", [(1, 30)], 1),
    ("two holes", {"exclude": ["12..13", "27..29"]}, "version 2", [(10, 12), (13, 27), (29, 30)], 3),
    ("all", {"exclude": ["0..30"]}, "version 1", [], 30),
    ("all but the first ten", {"exclude": ["10..30"]}, "version 2", [], 20),
    ("beyond what is learned, too", {"exclude": ["28..500"]}, "checkpoint 2", [(20, 28)], 2),
    ("a version by name", {"exclude": ["25..28"], "to": "2"}, "version 2", [(10, 25), (28, 30)], 3),
    ("the first version by name", {"exclude": ["25..28"], "to": "1"}, "version 1", [(0, 25), (28, 30)], 3),
]


@pytest.mark.parametrize(
    ("asked", "ancestor", "runs", "left_out"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_newest_state_without_what_is_excluded(
    history: LearnedModel, asked: Mapping[str, Any], ancestor: str, runs: list[tuple[int, int]], left_out: int
) -> None:
    """A replay begins with the newest state that has seen nothing excluded, and learns the rest in order."""
    found = planned(history.services, history.name, RollbackRequest(**asked))
    assert found.route.ancestor.name.startswith(ancestor)
    assert offsets(found.route.runs) == runs
    assert (found.excluded_count, found.record_count) == (left_out, sum(last - first for first, last in runs))
    assert (found.fallback_reason, found.missing) == ("", [])


def test_nothing_to_leave_out(history: LearnedModel) -> None:
    """Where the present state is what would come out, the refusal says where the champion stands."""
    with pytest.raises(RefusedError, match=r"nothing excluded .*phishing.events\[0\]@30.* nothing to replay"):
        excluding(history, "40..50")


def test_a_named_state_that_has_seen_it(history: LearnedModel) -> None:
    """A version that has learned what is excluded is refused by name, with the way to find a clean one."""
    with pytest.raises(RefusedError, match=r"12\.\.13 excluded, which version 3 .*leave out --to and --at"):
        excluding(history, "12..13", to="3")


def test_a_state_that_cannot_be_opened(history: LearnedModel) -> None:
    """A spoilt checkpoint is passed over, and the next older state begins instead."""
    expected = excluding(history, "25..28")
    history.services = with_parts(
        history.services,
        history=Unreadable(
            history.services.registry.history, {expected.route.ancestor.digest: TamperedError("changed")}
        ),
    )
    found = excluding(history, "25..28")
    assert found.route.ancestor.name == "version 2"
    assert offsets(found.route.runs) == [(10, 25), (28, 30)]


def test_a_named_state_that_cannot_be_opened(history: LearnedModel) -> None:
    """For a named version that is spoilt the replay leads up to it from an earlier one, and says why."""
    spoilt = resolve_state(history.services, history.name, version_or_alias="2", at=None)
    history.services = with_parts(
        history.services,
        history=Unreadable(history.services.registry.history, {spoilt.digest: TamperedError("changed")}),
    )
    found = excluding(history, "25..28", to="2")
    assert found.start_name == "version 1 for version 2"
    assert found.fallback_reason == "version 2: changed"
    assert offsets(found.route.runs) == [(0, 25), (28, 30)]


def test_no_state_at_all(history: LearnedModel) -> None:
    """Where no state can be opened, the untrained one is made anew from the specification."""
    states = known_states(history.services, load_lineage_tree(history.services, history.name))
    every = {one.digest: TamperedError("changed") for one in states}
    history.services = with_parts(history.services, history=Unreadable(history.services.registry.history, every))
    found = excluding(history, "25..28")
    assert (found.route.ancestor.name, found.base_state.is_stored) == ("version 1", False)
    assert offsets(found.route.runs) == [(0, 25), (28, 30)]


def test_a_state_of_another_estimator(history: LearnedModel) -> None:
    """A state of an estimator that has been replaced is none to begin with."""
    tree = load_lineage_tree(history.services, history.name)
    state = known_states(history.services, tree)[-1]
    other = history.spec.model_copy(update={"estimator": ["linear_model.Perceptron"]})
    with pytest.raises(NotFoundError, match=f"another estimator in {state.name} than the champion of {other.name}"):
        open_base_state(history.services, tree, state, spec=other)
    assert open_base_state(history.services, tree, state, spec=history.spec).is_stored


class ShortenedSource:
    """A real source, the oldest records of which retention has deleted."""

    def __init__(self, source: Source, *, start: int) -> None:
        self._source = source
        self._start = start

    def __getattr__(self, name: str) -> Any:
        """Return the source's own member."""
        return getattr(self._source, name)

    def bounds(self, topics: Sequence[str], *, since_ms: int | None = None) -> Mapping[TopicPartition, OffsetBounds]:
        """Return the bounds, which begin later."""
        return {
            at: replace(one, start=self._start) for at, one in self._source.bounds(topics, since_ms=since_ms).items()
        }


class TestMissingHistory:
    """What the stream has deleted and no archive holds."""

    @pytest.fixture
    def cut(self, history: LearnedModel) -> LearnedModel:
        """The history, whose first fifteen records have been deleted from the stream."""
        opened = history.services.streams.source
        history.services = with_parts(history.services, source=lambda group: ShortenedSource(opened(group), start=15))
        return history

    def test_it_is_refused(self, cut: LearnedModel) -> None:
        """A replay that lacks history says which offsets, before anything has begun."""
        with pytest.raises(BelowStartError, match="10 to 15"):
            excluding(cut, "25..28", to="2")

    def test_it_is_accepted(self, cut: LearnedModel) -> None:
        """Who accepts the gap learns the rest, and the plan keeps what is missing."""
        found = excluding(cut, "25..28", to="2", accept_gap=True)
        assert (offsets(found.missing), found.record_count) == ([(10, 15)], 12)

    def test_what_is_not_needed_is_not_missed(self, cut: LearnedModel) -> None:
        """A replay from a later state needs nothing that was deleted."""
        assert excluding(cut, "25..28").missing == []


class TestBeginning:
    """A plan becomes a lineage that replays."""

    def test_it_is_in_the_registry(self, history: LearnedModel) -> None:
        """The lineage follows the champion with its exclusions, which are in force from now on; the champion stays."""
        before = history.champion
        lineage = register_replay(history.services, excluding(history, "25..28"), origin=ChangeOrigin("ann", "wrong"))
        assert (lineage.role, history.champion) == (LineageRole.REPLAYING, before)
        (exclusion,) = history.services.registry.exclusions.list(history.name)
        assert (exclusion.reason, exclusion.created_by) == ("wrong", "ann")
        assert lineage.plan is not None
        assert (lineage.plan["follow"], lineage.plan["actor"], lineage.plan["gaps"]) == (before.id, "ann", [])
        newest = history.services.registry.checkpoints.newest(lineage.id)
        assert newest is not None
        assert newest.learned == 20

    def test_freezing_first(self, history: LearnedModel) -> None:
        """A rollback that freezes does so before it begins, and plans anew."""
        plan, _ = start_rollback_replay(
            history.services, excluding(history, "25..28", freeze=True), origin=ChangeOrigin("ann", "wrong")
        )
        assert history.registered.frozen
        assert plan.options.freeze

    def test_a_model_that_was_frozen_before(self, history: LearnedModel) -> None:
        """Who has frozen the model before is not unfrozen by the end of the replay."""
        history.run(CommandKind.FREEZE, reason="holiday")
        plan, lineage = start_rollback_replay(
            history.services, excluding(history, "25..28", freeze=True), origin=ChangeOrigin("ann", "wrong")
        )
        assert not plan.options.freeze
        assert lineage.plan is not None
        assert not lineage.plan["freeze"]

    def test_a_replay_that_cannot_begin(self, history: LearnedModel, monkeypatch: pytest.MonkeyPatch) -> None:
        """A model that was frozen for a replay that is refused goes on learning."""
        plan = excluding(history, "25..28", freeze=True)

        def refuse(*_: Any, **__: Any) -> None:
            msg = "no longer"
            raise RefusedError(msg)

        monkeypatch.setattr(planning, "register_replay", refuse)
        with pytest.raises(RefusedError, match="no longer"):
            start_rollback_replay(history.services, plan, origin=ChangeOrigin("ann", "wrong"))
        assert not history.registered.frozen

    def test_a_dry_run(self, history: LearnedModel) -> None:
        """The summary has what would be done, how fast it goes, and changes nothing."""
        found = rollback_summary(history.services, excluding(history, "25..28"))
        assert {
            key: found[key] for key in ("model", "mode", "instead", "left_out", "records", "missing", "freeze")
        } == {
            "model": history.name,
            "mode": "replay",
            "instead": None,
            "left_out": 3,
            "records": 7,
            "missing": [],
            "freeze": False,
        }
        assert found["rate"] > 0
        assert found["excluded"] == ["phishing.events/0:25..28"]
        assert [one.role for one in history.services.registry.history.lineages(history.name)] == [LineageRole.CHAMPION]


def test_what_was_excluded_before_counts(history: LearnedModel) -> None:
    """A rollback leaves out all exclusions in force, also those that were made without one."""
    register_replay(history.services, excluding(history, "25..28"), origin=ChangeOrigin("ann"))
    found = plan_rollback(history.services, history.name, RollbackOptions())
    assert offsets(found.route.runs) == [(20, 25), (28, 30)]
