"""A storm of SIGKILLs over rollbacks: each is carried out once, and every event is learned once."""

import random
from collections.abc import Sequence
from itertools import groupby, zip_longest
from pathlib import Path

import pytest

from service.bootstrap import App
from service.domain.registry.registry import CommandKind, CommandStatus, LineageRole, Version
from service.domain.stream.events import TopicPartition
from service.domain.stream.position import Position
from service.learning.learner.learner import Learner
from service.learning.learner.state import restored_state
from tests.acceptance.harness import PHISHING, Deployment, State, predict_probes
from tests.acceptance.rederived import Rederived, open_learner_of, payload
from tests.acceptance.rollback_storm import RequestedCommand, RollbackStorm
from tests.acceptance.storms import EventPublisher
from tests.budget import DEATHS, FULL, LEARNING, ROLLBACKS, WITHIN

AHEAD = 15_000


@pytest.fixture(params=["embedded", "services", pytest.param("four partitions", marks=FULL)])
def threatened(request: pytest.FixtureRequest, tmp_path: Path, topic: str) -> tuple[Deployment, int]:
    """A model that has learned nothing yet, and how many partitions its topic is to have."""
    kafka = url = None
    if request.param == "services":
        kafka = {"bootstrap_servers": request.getfixturevalue("broker").bootstrap, "driver": "librdkafka"}
        url = request.getfixturevalue("postgres_url")
    deployment = Deployment(tmp_path / "stormy", {**PHISHING, "events": topic}, registry_url=url, kafka=kafka)
    return deployment, 4 if request.param == "four partitions" else 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3])
def test_sigkill_during_rollbacks(threatened: tuple[Deployment, int], seed: int) -> None:
    """Thirty deaths or more, ten rollbacks or more: one champion, each done once, every event learned once, as the journals tell."""
    deployment, partitions = threatened
    with deployment.app() as app:
        supply = EventPublisher(deployment, app.sink(), partitions=partitions, ahead=AHEAD)
        storm = RollbackStorm(deployment, app, supply, random.Random(seed))
        rollbacks = storm.rage(ROLLBACKS, learning=LEARNING, within=WITHIN)
        assert len(storm.deaths) == 3 * rollbacks >= DEATHS
        state = deployment.state()
        assert state.counts == {"learned": supply.published}
        require_all_done(app, storm.asked)
        require_one_champion(app, rollbacks)
        require_what_journals_tell(app, state)


def require_all_done(app: App, asked: Sequence[RequestedCommand]) -> None:
    """Each command was carried out once, in the order of asking, and made the version that it should."""
    registry = app.registry
    assert not registry.commands.pending("phishing")
    assert {registry.commands.get(one.number).status for one in asked} == {CommandStatus.DONE}
    versions = registry.history.versions("phishing")
    _, *entries = registry.history.audit("phishing")
    for one, before, after, entry in zip(asked, versions[:-1], versions[1:], entries, strict=True):
        assert (after.number, after.kind, after.reason) == (before.number + 1, one.kind, one.reason)
        assert after.parent == (one.target_version or before.number)
        assert (after.lineage != before.lineage) == (one.kind is CommandKind.ROLLBACK)
        assert (entry.action, entry.reason, entry.to_version) == (one.kind, one.reason, after.number)
        assert entry.from_version == (before if one.target_version else after).number


def require_one_champion(app: App, rollbacks: int) -> None:
    """The lineage of the newest version, and all before it are retired."""
    lineages = app.registry.history.lineages("phishing")
    champion = app.registry.history.versions("phishing")[-1].lineage
    assert [one.id for one in lineages if one.role is LineageRole.CHAMPION] == [champion]
    assert [one.role for one in lineages] == [LineageRole.RETIRED] * rollbacks + [LineageRole.CHAMPION]
    assert app.registry.models.get("phishing").champion == champion


def require_what_journals_tell(app: App, state: State) -> None:
    """Each lineage goes on where the one before it ended, and learning all of them again gives every version exactly."""
    versions = app.registry.history.versions("phishing")
    reigns = [list(made) for _, made in groupby(versions, key=lambda version: version.lineage)]
    again, changed = Rederived(app), 0
    for (origin, *snapshots), following in zip_longest(reigns, reigns[1:]):
        end = following[0].position if following else Position.from_json(state.position)
        require_no_gap(app, origin, end)
        require_snapshots(app, again, origin, snapshots)
        if following:
            (goal,) = (one for one in versions if one.number == following[0].parent)
            require_restored(app, again.learner, goal, following[0])
            changed += predict_probes(again.learner) != predict_probes(open_learner_of(app, following[0].digest))
    assert again.same_as(state)
    assert changed >= ROLLBACKS // 2, "rollbacks that change nothing prove nothing"


def require_no_gap(app: App, origin: Version, end: Position) -> None:
    """From the position of its first version to `end`, offset by offset."""
    offsets = dict(origin.position.offsets)
    for segment in app.registry.checkpoints.journal(origin.lineage, scores=False):
        for run in segment.order:
            at = TopicPartition(run.topic, run.partition)
            assert run.first == offsets[at], "the journal repeats or skips offsets"
            offsets[at] = run.last
    assert offsets == end.offsets


def require_snapshots(app: App, again: Rederived, origin: Version, snapshots: Sequence[Version]) -> None:
    """Learned again, the lineage is what its snapshots hold when it comes to their positions."""
    waiting = list(snapshots)
    for position in again.commits(origin):
        while waiting and waiting[0].position == position:
            require_same(again.learner, open_learner_of(app, waiting.pop(0).digest))
    assert not waiting


def require_restored(app: App, old: Learner, goal: Version, rollback: Version) -> None:
    """What the rollback made is the goal's model, with the counts and metrics of the lineage that gave way."""
    made = restored_state(old.state(), payload(app, goal.digest))
    require_same(Learner(app.spec("phishing"), made), open_learner_of(app, rollback.digest))
    assert predict_probes(open_learner_of(app, rollback.digest)) == predict_probes(open_learner_of(app, goal.digest))


def require_same(one: Learner, other: Learner) -> None:
    """Equal counts, metrics and predictions."""
    assert one.counts == other.counts
    assert one.report() == other.report()
    assert predict_probes(one) == predict_probes(other)
