"""The trainer's look at challengers, a look at a time."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from service.bootstrap import App
from service.domain.registry.challenger import Challenger, ChallengerStage, ChallengerUpdate
from service.domain.training.jobs import TrainerLease
from service.operations.challengers.judge import MAX_LIVE_LAG, ChallengerJudge
from service.operations.challengers.loss_cache import LossCache
from service.storage.schema import registry as tables
from tests.acceptance.harness import PHISHING, Deployment, phishing_events

EVENTS = 300
PATIENCE_S = 60.0


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """A champion that has learned some events, and a challenger that has learned none."""
    found = Deployment(tmp_path / "one")
    found.publish(phishing_events(EVENTS))
    found.command("learn", "--until-end")
    found.model = {**PHISHING, "seed": 7}
    found.configure()
    found.command("model", "apply", "phishing")
    with found.app() as app:
        yield app


@pytest.fixture
def judge(app: App) -> ChallengerJudge:
    """Patient for a minute."""
    return ChallengerJudge(app.services, LossCache(app.registry.checkpoints), PATIENCE_S)


@pytest.fixture
def held(app: App) -> TrainerLease:
    """The right to judge, since now."""
    return app.registry.trainer_leases.acquire("phishing", holder="trainer", ttl_s=app.services.lease_ttl_s)


def only(app: App) -> Challenger:
    """The challenger, open or not."""
    (found,) = app.registry.challengers.list("phishing", finished=True)
    return found


def later(held: TrainerLease, seconds: float) -> TrainerLease:
    """The same right as it is renewed after a while."""
    return replace(held, expires_at=held.expires_at + timedelta(seconds=seconds))


def test_a_look_that_finds_nothing_new_writes_nothing(app: App, judge: ChallengerJudge, held: TrainerLease) -> None:
    """The first says how far it is, the second what the comparison says, the others nothing."""
    judge.judge_all(held, ran_s={})
    assert (only(app).behind, only(app).stage) == (EVENTS, ChallengerStage.SHADOW)
    judge.judge_all(held, ran_s={})
    assert only(app).evidence["events"] == 0
    before = only(app)
    for seconds in range(3):
        judge.judge_all(later(held, seconds), ran_s={})
    assert only(app) == before


def test_who_comes_no_nearer_is_dropped(app: App, judge: ChallengerJudge, held: TrainerLease) -> None:
    """After it has run that long, and not for time in which it did not run; why is in the audit."""
    challenger = only(app)
    app.registry.challengers.record_update(held, challenger.lineage, ChallengerUpdate(behind=MAX_LIVE_LAG + EVENTS))
    far_ahead(app)
    late = later(held, PATIENCE_S + 1)
    judge.judge_all(later(held, PATIENCE_S - 1), ran_s={challenger.lineage: PATIENCE_S + 1})
    judge.judge_all(late, ran_s={challenger.lineage: PATIENCE_S - 1})
    judge.judge_all(late, ran_s={})
    assert only(app).stage is ChallengerStage.CATCHING_UP
    judge.judge_all(late, ran_s={challenger.lineage: PATIENCE_S + 1})
    assert only(app).stage is ChallengerStage.DROPPED
    dropped = app.registry.history.audit("phishing")[-1]
    assert (dropped.action, dropped.actor) == ("drop", "trainer")
    assert dropped.reason == "found it 20,300 offsets behind the champion, no nearer for 60 s"


def far_ahead(app: App) -> None:
    """The champion has learned 20,000 events more; only its position says so."""
    with app.registry.database.write_transaction() as connection:
        table = tables.checkpoints
        champion = app.registry.models.get("phishing").champion
        position = {"phishing.events": {"0": 20_000 + EVENTS}}
        connection.execute(update(table).where(table.c.lineage == champion).values(position=position))
