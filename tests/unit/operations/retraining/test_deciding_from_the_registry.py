"""Whether a model is retrained, from what the registry holds: the decision is kept, and asks for one job."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.domain.registry.checkpoint_metrics import CheckpointMetrics, MonitorStatus
from service.domain.registry.registry import CommandKind
from service.domain.specification.monitor import MonitorState
from service.domain.training.jobs import Job, JobCause, JobEnding, JobState, RetrainDecision, TrainerLease
from service.errors import LeaseLostError, NotFoundError, RefusedError
from service.operations.retraining.decide import decide_retraining, request_manual_job
from tests.acceptance.harness import PHISHING, Deployment
from tests.contract.registry_values import commit
from tests.learned_model import LearnedModel, learned_model

RETRAIN: dict[str, Any] = {"min_new_events": 10, "cooldown": 0.001}


@pytest.fixture
def retrained(tmp_path: Path) -> Iterator[LearnedModel]:
    """A model that is retrained on drift after ten new events."""
    with learned_model(Deployment(tmp_path / "retrained", {**PHISHING, "retrain": RETRAIN})) as opened:
        yield opened


def trainer(model: LearnedModel) -> TrainerLease:
    """Return the right to decide for the model."""
    return model.services.training.trainers.acquire(model.name, holder="trainer", ttl_s=60.0)


def told(model: LearnedModel, *, signals: int, learned: int = 20) -> None:
    """Have the champion's newest checkpoint say how its monitor stands."""
    state = MonitorState.DRIFT if signals else MonitorState.QUIET
    status = MonitorStatus("errors", state=state, value=0.4, threshold=0.3, signals=signals)
    newest = model.services.registry.checkpoints.newest(model.champion.id)
    assert newest is not None
    model.services.registry.checkpoints.commit(
        commit(
            model.lease(),
            newest.sequence + 1,
            metrics=CheckpointMetrics(drift=(status,)),
            learned=learned,
            position=newest.position,
            order=(),
        )
    )


def decided(model: LearnedModel, **options: Any) -> tuple[RetrainDecision, Job | None]:
    """Return what is decided now."""
    return decide_retraining(model.services, trainer(model), **options)


def failed(model: LearnedModel, job: Job) -> None:
    """Have a job run and fail."""
    model.services.training.runs.launch(trainer(model), job.id, process="1", log="job.log")
    model.services.training.runs.end(trainer(model), job.id, JobEnding(JobState.FAILED, "over"))


def test_no_policy(model: LearnedModel) -> None:
    """A model without a policy is left alone, and the sentence names the command that trains it."""
    decision, job = decided(model)
    assert (decision.code, job) == ("no_policy", None)
    assert f"headrace job start {model.name}" in decision.explanation


def test_a_drift_asks_for_a_job(retrained: LearnedModel) -> None:
    """What the champion's newest checkpoint says of its monitors asks for a job, which keeps what they said."""
    told(retrained, signals=1)
    decision, job = decided(retrained)
    assert decision.code == "drift"
    assert job is not None
    assert (job.cause, job.requested_by, job.state) == (JobCause.DRIFT, "trainer", JobState.STARTING)
    assert job.evidence["learned"] == 20
    assert [(one["name"], one["signal"]) for one in job.evidence["monitors"]] == [("errors", 1)]


def test_one_drift_asks_once(retrained: LearnedModel) -> None:
    """While the job is open no other one is asked for; when it has failed the same signal is answered, a new one not."""
    told(retrained, signals=1)
    _, job = decided(retrained)
    assert job is not None
    told(retrained, signals=1, learned=60)
    assert decided(retrained)[0].code == "answered"
    told(retrained, signals=2, learned=80)
    assert decided(retrained)[0].code == "open"
    failed(retrained, job)
    decision, again = decided(retrained)
    assert (decision.code, again is not None) == ("drift", True)


def test_the_schedule_asks(retrained: LearnedModel) -> None:
    """A schedule that is due needs no drift, but new events."""
    told(retrained, signals=0, learned=9)
    assert decided(retrained, cron_due=True)[0].code == "few_events"
    told(retrained, signals=0, learned=10)
    decision, job = decided(retrained, cron_due=True)
    assert (decision.code, job is not None) == ("cron", True)


def test_a_frozen_model_is_not_retrained(retrained: LearnedModel) -> None:
    """Who has frozen a model wants no other one either."""
    told(retrained, signals=1)
    retrained.run(CommandKind.FREEZE, reason="holiday")
    decision, job = decided(retrained)
    assert (decision.code, job) == ("frozen", None)


def test_a_rollback_cools_down(tmp_path: Path) -> None:
    """After a rollback the cooldown passes first, whatever the monitors say."""
    spec = {**PHISHING, "retrain": {**RETRAIN, "cooldown": 3600.0}}
    with learned_model(Deployment(tmp_path / "cooling", spec)) as model:
        model.run(CommandKind.ROLLBACK, to="1")
        told(model, signals=1)
        decision, job = decided(model)
    assert (decision.code, job) == ("cooldown", None)
    assert "after the newest rollback or exclusion lasts until" in decision.explanation


class TestWhatIsKept:
    """Decisions are kept in the registry, and told when they are other ones."""

    def test_the_newest_is_kept(self, retrained: LearnedModel) -> None:
        """Whoever asks why nothing happens finds the newest decision."""
        told(retrained, signals=0)
        decided(retrained)
        found = retrained.services.training.trainers.find(retrained.name)
        assert found is not None
        assert found.decision is not None
        assert found.decision.code == "quiet"
        assert "no monitor sees drift: errors quiet at 0.4 of 0.3" in found.decision.explanation

    def test_only_another_one_is_logged(self, retrained: LearnedModel) -> None:
        """The same decision again is no news."""
        told(retrained, signals=0)
        with capture_logs() as logs:
            decided(retrained)
            decided(retrained)
            told(retrained, signals=1)
            decided(retrained)
        assert [(one["code"], one["retrain"]) for one in logs if one["event"] == "retraining_decided"] == [
            ("quiet", False),
            ("drift", True),
        ]

    def test_who_lost_the_right_decides_nothing(self, retrained: LearnedModel) -> None:
        """A trainer whose lease another one has taken asks for no job."""
        told(retrained, signals=1)
        lease = trainer(retrained)
        with pytest.raises(LeaseLostError):
            decide_retraining(retrained.services, replace(lease, epoch=lease.epoch + 1))
        assert retrained.services.training.jobs.list(retrained.name) == []

    def test_somebody_else_came_first(self, retrained: LearnedModel) -> None:
        """Where a person's job begins between the look and the decision, that one job is enough."""
        told(retrained, signals=1)
        trainers = retrained.services.training.trainers

        class Overtaken:
            """The real leases, before whose decision a person asks for a job."""

            def __getattr__(self, name: str) -> Any:
                return getattr(trainers, name)

            def record_decision(self, *arguments: Any, **named: Any) -> Job | None:
                request_manual_job(retrained.services, retrained.name, actor="ann", reason="now")
                return trainers.record_decision(*arguments, **named)

        services = replace(retrained.services, training=replace(retrained.services.training, trainers=Overtaken()))
        decision, job = decide_retraining(services, trainer(retrained))
        assert (decision.code, job) == ("drift", None)
        assert [one.cause for one in retrained.services.training.jobs.list(retrained.name)] == [JobCause.HAND]


class TestByHand:
    """A job that a person asks for."""

    def test_without_a_policy(self, model: LearnedModel) -> None:
        """Any model is trained when a person says so, under the default policy."""
        job = request_manual_job(model.services, model.name, actor="ann", reason="to see")
        assert (job.cause, job.requested_by, job.reason) == (JobCause.HAND, "ann", "to see")

    def test_one_at_a_time(self, model: LearnedModel) -> None:
        """A second job is refused while the first is open."""
        first = request_manual_job(model.services, model.name, actor="ann", reason="")
        with pytest.raises(RefusedError, match=f"job {first.id}"):
            request_manual_job(model.services, model.name, actor="bob", reason="")

    def test_an_unknown_model(self, model: LearnedModel) -> None:
        """A model that is not there is not trained."""
        with pytest.raises(NotFoundError, match="others"):
            request_manual_job(model.services, "others", actor="ann", reason="")
