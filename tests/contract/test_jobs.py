"""What is promised of training jobs, over SQLite, PostgreSQL and in memory."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest

from service.domain.registry.registry import ChangeOrigin, LineageRole, SealedBytes, VersionKind
from service.domain.specification.retrain import RetrainSpec
from service.domain.stream.exclusion import Exclusion
from service.domain.stream.position import OffsetRange
from service.domain.training.jobs import (
    ALLOWED_TRANSITIONS,
    FINAL_STATES,
    Job,
    JobCause,
    JobEnding,
    JobFailure,
    JobId,
    JobProgress,
    JobRequest,
    JobState,
    RetrainDecision,
    TrainedCandidate,
    TrainerLease,
)
from service.domain.training.report import ReportFormat
from service.errors import LeaseHeldError, LeaseLostError, NotFoundError, RefusedError
from service.ports.training import HoldoutOpenings, JobRuns, Jobs, TrainerLeases
from service.storage.registry import Registry
from service.storage.transactions.holder import Holder
from service.testing.jobs import MemoryHoldoutOpenings, MemoryJobRuns, MemoryJobs, MemoryJobTables, MemoryTrainerLeases
from tests.contract.registry_values import NAME, count, digest, founded, founding, leased, state, succession

Open = Callable[[], Registry]
SPEC = RetrainSpec(retries=1)
WANTED = JobRequest(NAME, SPEC, JobCause.DRIFT, "trainer", "drift: errors", {"learned": 10})
INTERRUPTED = JobEnding(JobState.FAILED, "interrupted: killed", JobFailure.INTERRUPTED)


@dataclass
class Training:
    """The four training ports over the same rows."""

    jobs: Jobs
    runs: JobRuns
    openings: HoldoutOpenings
    trainers: TrainerLeases

    def held(self, *, holder: str = "here", ttl_s: float = 60.0) -> TrainerLease:
        """Acquire the trainer's lease."""
        return self.trainers.acquire(NAME, holder=holder, ttl_s=ttl_s)

    def states(self, job: JobId) -> list[JobState]:
        """Return all states that the job was in."""
        return [one.state for one in self.jobs.transitions(job)]


def over(registry: Registry) -> Training:
    """Return the ports of a registry."""
    return Training(registry.jobs, registry.job_runs, registry.holdout_openings, registry.trainer_leases)


def candidate(data: bytes = b"trained", **changes: Any) -> TrainedCandidate:
    """Return a trained candidate."""
    waiting = SealedBytes(digest(b"waiting"), b"waiting")
    learned = [OffsetRange("events", 0, 10, 30), OffsetRange("events", 0, 0, 10)]
    plain = TrainedCandidate(
        state(data, offset=30), {"name": NAME}, learned, {"river": "0.26.1"}, evidence={"records": 30}
    )
    return replace(plain, waiting=waiting, **changes)


def launched(training: Training, held: TrainerLease | None = None) -> Job:
    """Request and launch a job."""
    job = training.jobs.request(WANTED)
    return training.runs.launch(held or training.held(), job.id, process="there", log="job.log")


def evaluated(training: Training) -> Job:
    """Bring a job to the end of its training."""
    job = launched(training)
    for one in (JobState.LOADING, JobState.TRAINING, JobState.EVALUATING):
        job = training.runs.set_state(job.id, one)
    return job


class Promises:
    """What every implementation promises."""

    def test_a_job_from_request_to_version(self, training: Training) -> None:
        """Every state is stored with its time and reason, and version and completion are written together."""
        job = training.jobs.request(WANTED)
        assert (job.state, job.cause, job.attempt, job.evidence["learned"]) == (
            JobState.STARTING,
            JobCause.DRIFT,
            1,
            10,
        )
        started = training.runs.launch(training.held(), job.id, process="there", log="job.log")
        assert (started.process, started.log, started.state) == ("there", "job.log", JobState.STARTING)
        training.runs.set_state(job.id, JobState.LOADING)
        training.runs.set_state(job.id, JobState.TRAINING, reason="30 offsets")
        assert training.runs.heartbeat(job.id, JobProgress(20, 30)) is JobState.TRAINING
        assert training.jobs.get(job.id).progress == JobProgress(20, 30)
        training.runs.set_state(job.id, JobState.EVALUATING)
        assert training.jobs.get(job.id).progress == JobProgress()
        version = training.runs.complete(job.id, candidate())
        assert (version.number, version.kind, version.parent, version.digest) == (2, "retrain", 1, digest(b"trained"))
        ended = training.jobs.get(job.id)
        assert (ended.state, ended.version, ended.finished_at is not None) == (JobState.COMPLETED, 2, True)
        told = training.jobs.transitions(job.id)
        assert [one.state.value for one in told] == ["Starting", "Loading", "Training", "Evaluating", "Completed"]
        assert [one.reason for one in told] == ["drift: errors", "", "30 offsets", "", "version 2"]
        assert [one.at for one in told] == sorted(one.at for one in told)

    def test_one_open_job_a_model(self, training: Training) -> None:
        """A second open job is refused and the first is named; after its end another can be requested."""
        first = training.jobs.request(WANTED)
        with pytest.raises(RefusedError, match=f"found job {first.id} of phishing open"):
            training.jobs.request(WANTED)
        training.jobs.stop(first.id, actor="ann", reason="")
        second = training.jobs.request(WANTED)
        assert [job.id for job in training.jobs.list(NAME)] == [second.id, first.id]
        assert training.jobs.list(limit=1) == [second]
        assert training.jobs.list("another") == []

    def test_no_model_no_job(self, training: Training) -> None:
        """A job of an unregistered model is refused."""
        with pytest.raises(NotFoundError, match="found no model other"):
            training.jobs.request(replace(WANTED, model="other"))
        with pytest.raises(NotFoundError, match="found no model other"):
            training.trainers.acquire("other", holder="here", ttl_s=1)
        for act in (training.jobs.get, lambda job: training.jobs.stop(job, actor="ann", reason="")):
            with pytest.raises(NotFoundError):
                act(JobId(99))

    def test_stopping_before_there_is_a_process(self, training: Training) -> None:
        """A job without a process is Stopped at once, and cannot be launched any more."""
        job = training.jobs.request(WANTED)
        stopped = training.jobs.stop(job.id, actor="ann", reason="not now")
        assert stopped.state is JobState.STOPPED
        assert training.states(job.id) == [JobState.STARTING, JobState.STOPPING, JobState.STOPPED]
        assert training.jobs.transitions(job.id)[-1].reason == "ann: not now"
        with pytest.raises(RefusedError, match="stopped or taken"):
            training.runs.launch(training.held(), job.id, process="there", log="job.log")

    @pytest.mark.parametrize("died", [True, False])
    def test_a_stopped_job_is_no_completed_one(self, training: Training, died: bool) -> None:
        """A stopping job can neither continue nor deliver; however its process ends it is Stopped and not retried."""
        job = evaluated(training)
        assert training.jobs.stop(job.id, actor="ann", reason="enough").state is JobState.STOPPING
        assert training.jobs.stop(job.id, actor="bob", reason="twice").state is JobState.STOPPING
        assert training.runs.heartbeat(job.id, JobProgress()) is JobState.STOPPING
        for act in (
            lambda: training.runs.set_state(job.id, JobState.REPLAYING),
            lambda: training.runs.complete(job.id, candidate()),
        ):
            with pytest.raises(RefusedError, match="Stopping"):
                act()
        ending = INTERRUPTED if died else JobEnding(JobState.STOPPED, "ended")
        assert training.runs.end(training.held(), job.id, ending) is None
        found = training.jobs.get(job.id)
        assert (found.state, found.failure, found.version) == (JobState.STOPPED, None, None)
        with pytest.raises(RefusedError, match="Stopped already"):
            training.jobs.stop(job.id, actor="ann", reason="")

    def test_an_interrupted_job_is_tried_again(self, training: Training) -> None:
        """An interrupted job is retried by a new job that names it, as often as the policy says."""
        held = training.held()
        job = launched(training, held)
        again = training.runs.end(held, job.id, INTERRUPTED)
        assert again is not None
        assert (again.state, again.attempt, again.retry_of, again.evidence) == (
            JobState.STARTING,
            2,
            job.id,
            job.evidence,
        )
        assert training.jobs.get(job.id).failure is JobFailure.INTERRUPTED
        training.runs.launch(held, again.id, process="there", log="job.log")
        assert training.runs.end(held, again.id, INTERRUPTED) is None
        assert [one.state for one in training.jobs.list(NAME)] == [JobState.FAILED, JobState.FAILED]

    @pytest.mark.parametrize("failure", [JobFailure.EXCEPTION, JobFailure.TIME, JobFailure.MEMORY])
    def test_what_failed_by_itself_is_not_tried_again(self, training: Training, failure: JobFailure) -> None:
        """A job that failed by its own fault is not retried, since it would fail again."""
        held = training.held()
        job = launched(training, held)
        assert training.runs.end(held, job.id, JobEnding(JobState.FAILED, "no", failure)) is None
        assert training.jobs.get(job.id).failure is failure

    def test_an_end_stays(self, training: Training) -> None:
        """A late trainer changes nothing of an ended job, and a late process delivers nothing."""
        held = training.held()
        job = launched(training, held)
        training.runs.end(held, job.id, JobEnding(JobState.FAILED, "no", JobFailure.TIME))
        before = training.jobs.transitions(job.id)
        assert training.runs.end(held, job.id, INTERRUPTED) is None
        with pytest.raises(RefusedError, match="Failed"):
            training.runs.complete(job.id, candidate())
        assert training.runs.heartbeat(job.id, JobProgress(1, 2)) is JobState.FAILED
        assert training.jobs.transitions(job.id) == before
        assert training.jobs.get(job.id).progress == JobProgress()

    @pytest.mark.parametrize("state", [one for one in JobState if one not in ALLOWED_TRANSITIONS[JobState.LOADING]])
    def test_no_state_is_left_out(self, training: Training, state: JobState) -> None:
        """From Loading a job can only enter the states that may follow."""
        job = launched(training)
        training.runs.set_state(job.id, JobState.LOADING)
        with pytest.raises(RefusedError, match="Loading"):
            training.runs.set_state(job.id, state)

    def test_the_test_part_is_opened_once(self, training: Training) -> None:
        """A second opening of the holdout is refused, and the message says when the first was."""
        job = launched(training)
        assert training.openings.find(job.id) is None
        first = training.openings.open(job.id, part={"events": 100})
        with pytest.raises(RefusedError, match="read once"):
            training.openings.open(job.id, part={"events": 200})
        found = training.openings.find(job.id)
        assert found is not None
        assert (found.part, found.at) == ({"events": 100}, first.at)
        with pytest.raises(NotFoundError):
            training.openings.open(JobId(99), part={})

    def test_one_trainer_a_model(self, training: Training) -> None:
        """A second trainer is refused while the lease holds, and takes over with a new epoch after it."""
        held = training.held()
        with pytest.raises(LeaseHeldError, match=r"trained for by here.*--wait-for-lease"):
            training.held(holder="there")
        training.trainers.release(held)
        taken = training.held(holder="there")
        assert (taken.epoch, taken.holder, taken.before is not None) == (held.epoch + 1, "there", True)
        assert held.before is None
        training.trainers.release(held)
        with pytest.raises(LeaseHeldError):
            training.held()

    def test_who_lost_the_lease_acts_no_more(self, training: Training) -> None:
        """A trainer without its lease can neither renew, decide, launch nor end, and leaves no trace."""
        stale = training.held(ttl_s=0.05)
        time.sleep(0.1)
        job = launched(training, training.held(holder="there"))
        decision = RetrainDecision("drift", "drift", JobCause.DRIFT)
        for act in (
            lambda: training.trainers.renew(stale, ttl_s=60),
            lambda: training.trainers.record_decision(stale, decision, job_request=WANTED),
            lambda: training.runs.launch(stale, job.id, process="here", log=""),
            lambda: training.runs.end(stale, job.id, INTERRUPTED),
        ):
            with pytest.raises(LeaseLostError, match="epoch 1"):
                act()
        found = training.trainers.find(NAME)
        assert found is not None
        assert (found.holder, found.decision) == ("there", None)
        assert training.jobs.list() == [job]

    def test_a_decision_and_its_job_come_together(self, training: Training) -> None:
        """A decision is stored with its job, or not at all if a job is open; the last decision is kept."""
        held = training.held()
        quiet = RetrainDecision("quiet", "no monitor sees drift", evidence={"learned": 5})
        assert training.trainers.record_decision(held, quiet) is None
        job = training.trainers.record_decision(
            held, RetrainDecision("drift", "errors", JobCause.DRIFT), job_request=WANTED
        )
        assert job == training.jobs.list()[0]
        with pytest.raises(RefusedError, match="open"):
            training.trainers.record_decision(
                held, RetrainDecision("cron", "at three", JobCause.CRON), job_request=WANTED
            )
        found = training.trainers.find(NAME)
        assert found is not None
        assert found.decision is not None
        assert (found.decision.code, found.decision.retrain, found.decision.at is not None) == ("drift", True, True)
        assert found.epoch == held.epoch


class TestMemory(Promises):
    """The in-memory implementation that ships with the package."""

    @pytest.fixture
    def training(self) -> Training:
        """Return ports of one model without jobs."""
        book = MemoryJobTables({NAME})
        return Training(MemoryJobs(book), MemoryJobRuns(book), MemoryHoldoutOpenings(book), MemoryTrainerLeases(book))


class TestRegistry(Promises):
    """SQLite and PostgreSQL, and what only a registry promises."""

    @pytest.fixture
    def training(self, registry: Registry) -> Training:
        """Return ports of one model without jobs."""
        founded(registry)
        return over(registry)

    def test_a_delivery_serves_nobody(self, registry: Registry, training: Training) -> None:
        """A delivered candidate becomes a challenger with version, lineage, state and audit; the champion stays."""
        champion = registry.models.get(NAME).champion
        first = training.runs.complete(evaluated(training).id, candidate(b"first try"))
        training.trainers.release(training.trainers.find(NAME) or training.held())
        second = training.runs.complete(evaluated(training).id, candidate())
        assert registry.models.get(NAME).champion == champion
        assert [one.role for one in registry.history.lineages(NAME)] == [
            LineageRole.CHAMPION,
            LineageRole.CHALLENGER,
            LineageRole.CHALLENGER,
        ]
        assert registry.history.versions(NAME)[1:] == [first, second]
        assert (second.kind, second.parent, second.learned) == (
            VersionKind.RETRAIN,
            1,
            [OffsetRange("events", 0, 0, 30)],
        )
        assert registry.history.artifact(second.digest) == b"trained"
        assert registry.history.artifact(second.waiting or "") == b"waiting"
        checkpoint = registry.checkpoints.newest_first(second.lineage)[0]
        assert (checkpoint.sequence, checkpoint.position) == (0, second.position)
        entry = registry.history.audit(NAME)[-1]
        assert (entry.action, entry.to_version, entry.evidence["records"]) == ("retrain", 3, 30)

    def test_a_report_comes_with_its_version_or_not_at_all(self, registry: Registry, training: Training) -> None:
        """Every report is stored with its version; a refused delivery leaves none."""
        texts = {ReportFormat.MARKDOWN: "# told", ReportFormat.JSON: "{}"}
        job = evaluated(training)
        version = training.runs.complete(job.id, candidate(reports=texts))
        assert {form: registry.reports.get(NAME, version.number, form).text for form in texts} == texts
        with pytest.raises(RefusedError):
            training.runs.complete(job.id, candidate(b"again", reports=texts))
        assert registry.reports.list(NAME) == [version.number]

    def test_a_rollback_ends_what_the_old_line_led_to(self, registry: Registry) -> None:
        """A rollback stops an open job and retires challengers in its own transaction."""
        lease, training = leased(registry), over(registry)
        training.runs.complete(evaluated(training).id, candidate())
        training.trainers.release(training.trainers.find(NAME) or training.held())
        job = evaluated(training)
        registry.changes.install_successor(succession(lease))
        assert training.jobs.get(job.id).state is JobState.STOPPING
        assert training.jobs.transitions(job.id)[-1].reason == "rolled back to version 3"
        assert LineageRole.CHALLENGER not in {one.role for one in registry.history.lineages(NAME)}
        with pytest.raises(RefusedError):
            training.runs.complete(job.id, candidate())

    def test_an_exclusion_ends_who_may_have_read_it(self, registry: Registry, training: Training) -> None:
        """A new exclusion stops a running job, which may have read the range; one already in force changes nothing."""
        registry.exclusions.add(NAME, Exclusion(OffsetRange("events", 0, 5, 9), "poison", "ann"))
        job = evaluated(training)
        registry.exclusions.add(NAME, Exclusion(OffsetRange("events", 0, 5, 9), "poison", "ann"))
        assert training.jobs.get(job.id).state is JobState.EVALUATING
        registry.exclusions.add(NAME, Exclusion(OffsetRange("events", 0, 10, 12), "poison", "ann"))
        assert training.jobs.get(job.id).state is JobState.STOPPING

    def test_a_deleted_model_takes_its_jobs_along(self, registry: Registry, training: Training) -> None:
        """A deleted model's jobs are deleted, and a process that still runs is told."""
        job = evaluated(training)
        training.openings.open(job.id, part={})
        registry.models.delete(NAME, actor="ann", reason="")
        assert [count(registry, name) for name in ("jobs", "job_transitions", "job_openings", "trainers")] == [0] * 4
        with pytest.raises(NotFoundError):
            training.runs.heartbeat(job.id, JobProgress())
        with pytest.raises(NotFoundError):
            training.runs.complete(job.id, candidate())

    def test_many_ask_at_once(self, open_one: Open) -> None:
        """Of several that request a job at once one gets it, by the table's index and not by a check before."""
        registries = [open_one() for _ in range(4)]
        founded(registries[0])
        together = threading.Barrier(4)

        def attempt(number: int) -> bool:
            registries[number].jobs.list()
            together.wait()
            try:
                registries[number].jobs.request(WANTED)
            except RefusedError:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(attempt, range(4))) == 1
        assert count(registries[0], "jobs") == 1

    def test_many_trainers_at_once(self, open_one: Open) -> None:
        """Of several trainers that acquire at once one succeeds, and the others are refused."""
        registries = [open_one() for _ in range(4)]
        founded(registries[0])
        together = threading.Barrier(4)

        def attempt(number: int) -> bool:
            registries[number].jobs.list()
            together.wait()
            try:
                registries[number].trainer_leases.acquire(NAME, holder=f"trainer {number}", ttl_s=60)
            except LeaseHeldError:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(attempt, range(4))) == 1

    def test_a_delivery_and_a_rollback_at_once(self, open_one: Open) -> None:
        """Whichever is first, the job ends once, version numbers differ, and there is one champion."""
        one, other = open_one(), open_one()
        lease, training = leased(one), over(other)
        job = evaluated(training)
        together = threading.Barrier(2)

        def deliver() -> bool:
            together.wait()
            try:
                training.runs.complete(job.id, candidate())
            except RefusedError:
                return False
            return True

        def roll_back() -> None:
            together.wait()
            one.changes.install_successor(succession(lease, origin=ChangeOrigin("bob")))

        with ThreadPoolExecutor(2) as pool:
            delivered, rolled_back = pool.submit(deliver), pool.submit(roll_back)
            rolled_back.result()
            state_after = JobState.COMPLETED if delivered.result() else JobState.STOPPING
        assert training.jobs.get(job.id).state is state_after
        numbers = [version.number for version in one.history.versions(NAME)]
        assert numbers == list(range(1, len(numbers) + 1))
        roles = [found.role for found in one.history.lineages(NAME)]
        assert roles.count(LineageRole.CHAMPION) == 1
        assert LineageRole.CHALLENGER not in roles

    def test_a_sibling_takes_over_at_once(self, registry: Registry, training: Training) -> None:
        """Under one supervisor a dead trainer is replaced without waiting for its lease."""
        here = Holder.current(nonce="ours")
        training.held(holder=str(here))
        assert training.held(holder=str(replace(here, pid=here.pid + 1))).epoch == 2

    def test_models_do_not_share_anything(self, registry: Registry, training: Training) -> None:
        """Two models each have an open job and a trainer of their own."""
        registry.models.register(founding("other", data=b"other"))
        for name in (NAME, "other"):
            registry.jobs.request(replace(WANTED, model=name))
            registry.trainer_leases.acquire(name, holder=f"trainer of {name}", ttl_s=60)
        assert len(registry.jobs.list()) == 2
        assert {one.state for one in registry.jobs.list()}.isdisjoint(FINAL_STATES)
