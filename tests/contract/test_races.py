"""Promotions, rollbacks, deletions and deliveries of jobs meet in any order, and each refusal says why."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from service.domain.registry.challenger import ChallengerPromotion, ChallengerStage, ChallengerUpdate
from service.domain.registry.registry import ChangeOrigin, Lease, LineageId, LineageRole, ModelName, VersionKind
from service.domain.specification.retrain import RetrainSpec
from service.domain.stream.position import OffsetRange
from service.domain.training.jobs import (
    JobCause,
    JobId,
    JobRequest,
    JobState,
    RetrainDecision,
    TrainedCandidate,
    TrainerLease,
)
from service.errors import HeadraceError, LeaseHeldError, LeaseLostError, NotFoundError, RefusedError
from service.storage.registry import Registry
from tests.contract.registry_values import NAME, commit, count, founding, leased, state, succession, totals

Open = Callable[[], Registry]
WANTED = JobRequest(NAME, RetrainSpec(), JobCause.DRIFT, "trainer", "drift: errors")
CANDIDATE = TrainedCandidate(
    state(b"trained", offset=30), {"name": NAME}, [OffsetRange("events", 0, 0, 30)], {"river": "0.26.1"}
)
KEPT = {"artifacts", "audit"}
"""Tables whose rows outlive a model; artifacts are collected later."""
ROUNDS = 8


def challenging(registry: Registry, lease: Lease) -> LineageId:
    """Insert a challenger of the lease's champion."""
    registry.changes.install_successor(succession(lease, role=LineageRole.CHALLENGER, kind=VersionKind.INITIAL))
    return max(one.lineage for one in registry.challengers.list(NAME))


def trained(registry: Registry, trainer: TrainerLease) -> JobId:
    """Bring a job to the point where it can deliver."""
    job = registry.jobs.request(WANTED).id
    registry.job_runs.launch(trainer, job, process="there", log="")
    for one in (JobState.LOADING, JobState.TRAINING, JobState.EVALUATING):
        registry.job_runs.set_state(job, one)
    return job


def trainer_of(registry: Registry) -> TrainerLease:
    """Acquire the trainer's lease."""
    return registry.trainer_leases.acquire(NAME, holder="trainer", ttl_s=60)


def coronation(lease: Lease, lineage: LineageId) -> ChallengerPromotion:
    """Return a promotion of the challenger over the lease's champion, which goes on probation."""
    return ChallengerPromotion(lease, NAME, lineage, ChangeOrigin("trainer", "better"), {"lower": 0.1}, probation=True)


def actions(registry: Registry) -> list[str]:
    """Return the actions in the audit, except the registration."""
    return [one.action for one in registry.history.audit(NAME)][1:]


def champions(registry: Registry) -> list[LineageId]:
    """Return all lineages with the champion's role."""
    return [one.id for one in registry.history.lineages(NAME) if one.role is LineageRole.CHAMPION]


@dataclass
class Attempt:
    """The outcome of one of two operations that begin at the same moment."""

    act: Callable[[], object]
    answered: object = None
    refused: HeadraceError | None = None

    def run(self, together: threading.Barrier) -> None:
        """Run the operation; catch only errors that say why it was refused."""
        together.wait()
        try:
            self.answered = self.act()
        except HeadraceError as error:
            self.refused = error


def at_once(*acts: Callable[[], object]) -> list[Attempt]:
    """Run both, each in a thread and with connections of its own."""
    attempts, together = [Attempt(act) for act in acts], threading.Barrier(len(acts))
    with ThreadPoolExecutor(len(acts)) as pool:
        for done in [pool.submit(one.run, together) for one in attempts]:
            done.result()
    return attempts


class TestOneAfterTheOther:
    """Operations in a known order."""

    def test_a_promotion_then_a_rollback(self, registry: Registry) -> None:
        """The rollback retires the promoted champion with its probation, its challengers and its job."""
        lease, trainer = leased(registry), trainer_of(registry)
        first, second = challenging(registry, lease), challenging(registry, lease)
        job = trained(registry, trainer)
        _, crowned = registry.challengers.promote(coronation(lease, first))
        assert {one.lineage for one in registry.challengers.list(NAME)} == {lease.lineage, second}
        version, after = registry.changes.install_successor(succession(crowned))
        assert champions(registry) == [after.lineage] == [registry.models.get(NAME).champion]
        assert registry.challengers.list(NAME) == []
        found = {one.lineage: one for one in registry.challengers.list(NAME, finished=True)}
        assert found[first].stage is ChallengerStage.PROMOTED
        for lineage in (lease.lineage, second):
            assert (found[lineage].stage, found[lineage].reason) == (
                ChallengerStage.RETIRED,
                f"rolled back to version {version.number}",
            )
        assert registry.jobs.get(job).state is JobState.STOPPING
        assert actions(registry)[-2:] == ["promote", "rollback"]
        with pytest.raises(LeaseLostError):
            registry.checkpoints.commit(commit(lease))

    def test_a_rollback_then_a_promotion(self, registry: Registry) -> None:
        """A promotion after a rollback is refused, names the rollback, and changes nothing."""
        lease = leased(registry)
        lineage = challenging(registry, lease)
        _, after = registry.changes.install_successor(succession(lease))
        before = totals(registry)
        for held in (lease, after):
            with pytest.raises(RefusedError, match=r"retired \(rolled back to version 3\)"):
                registry.challengers.promote(coronation(held, lineage))
        assert totals(registry) == before

    def test_what_was_dropped_is_not_promoted(self, registry: Registry) -> None:
        """A dropped challenger is not promoted even if that was requested before; the message says why it was dropped."""
        lease, trainer = leased(registry), trainer_of(registry)
        lineage = challenging(registry, lease)
        registry.challengers.end(trainer, lineage, ChallengerStage.DROPPED, reason="too large")
        with pytest.raises(RefusedError, match=r"dropped \(too large\)"):
            registry.challengers.promote(coronation(lease, lineage))
        assert champions(registry) == [lease.lineage]

    def test_a_job_delivers_after_a_rollback(self, registry: Registry) -> None:
        """A job after a rollback is stopped and delivers nothing; its end is no failure and is not retried."""
        lease, trainer = leased(registry), trainer_of(registry)
        job = trained(registry, trainer)
        registry.changes.install_successor(succession(lease))
        with pytest.raises(RefusedError, match="Stopping"):
            registry.job_runs.complete(job, CANDIDATE)
        assert [one.kind for one in registry.history.versions(NAME)] == [VersionKind.INITIAL, VersionKind.ROLLBACK]
        assert registry.challengers.list(NAME, finished=True) == []
        told = registry.jobs.transitions(job)[-1]
        assert (told.state, told.reason) == (JobState.STOPPING, "rolled back to version 2")

    def test_a_job_delivers_after_a_promotion(self, registry: Registry) -> None:
        """A job delivers after a promotion, and its candidate challenges the new champion."""
        lease, trainer = leased(registry), trainer_of(registry)
        job, lineage = trained(registry, trainer), challenging(registry, lease)
        registry.challengers.promote(coronation(lease, lineage))
        delivered = registry.job_runs.complete(job, CANDIDATE)
        assert (delivered.number, delivered.parent) == (3, 2)
        assert {one.version for one in registry.challengers.list(NAME)} == {1, 3}
        assert champions(registry) == [lineage]

    def test_deletion_waits_for_a_challenger(self, registry: Registry) -> None:
        """While a process learns a challenger the model is not deleted, and the message names the process."""
        lease = leased(registry)
        runner = registry.leases.acquire(challenging(registry, lease), holder="runner", ttl_s=60)
        registry.leases.release(lease)
        before = totals(registry)
        with pytest.raises(LeaseHeldError, match=r"written by runner.*stop the learner first, and the trainer"):
            registry.models.delete(NAME, actor="ann", reason="")
        assert totals(registry) == before
        registry.leases.release(runner)
        registry.models.delete(NAME, actor="ann", reason="")

    def test_deletion_with_a_job_and_challengers(self, registry: Registry) -> None:
        """A deletion leaves only the audit, and whoever writes the model afterwards is told."""
        lease, trainer = leased(registry), trainer_of(registry)
        lineage, job = challenging(registry, lease), trained(registry, trainer)
        runner = registry.leases.acquire(lineage, holder="runner", ttl_s=60)
        registry.checkpoints.commit(commit(runner))
        for one in (lease, runner):
            registry.leases.release(one)
        registry.models.delete(NAME, actor="ann", reason="enough")
        assert {name: found for name, found in totals(registry).items() if found and name not in KEPT} == {}
        assert actions(registry)[-1] == "delete"
        for act in (
            lambda: registry.challengers.promote(coronation(lease, lineage)),
            lambda: registry.changes.install_successor(succession(lease)),
            lambda: registry.checkpoints.commit(commit(runner, 2)),
            lambda: registry.challengers.record_update(trainer, lineage, ChallengerUpdate(behind=1)),
            lambda: registry.challengers.end(trainer, lineage, ChallengerStage.DROPPED, reason="slow"),
        ):
            with pytest.raises(LeaseLostError):
                act()
        with pytest.raises(NotFoundError, match="its model has been deleted"):
            registry.job_runs.complete(job, CANDIDATE)
        assert {name: found for name, found in totals(registry).items() if found and name not in KEPT} == {}


class TestAtOnce:
    """Operations in an unknown order."""

    def test_a_promotion_and_a_rollback(self, open_one: Open) -> None:
        """One of the two is done and the other refused; there is one champion, with the lease of the first."""
        one, other = open_one(), open_one()
        lease = leased(one)
        for _ in range(ROUNDS):
            lineage, before = challenging(one, lease), len(actions(one))
            acts = (
                (one.challengers.promote, coronation(lease, lineage)),
                (other.changes.install_successor, succession(lease)),
            )
            done = at_once(*(lambda act=act, given=given: act(given) for act, given in acts))
            (winner,) = [found for found in done if found.refused is None]
            (loser,) = [found for found in done if found.refused is not None]
            assert isinstance(loser.refused, RefusedError)
            assert isinstance(winner.answered, tuple)
            lease = winner.answered[1]
            assert champions(one) == [lease.lineage] == [one.models.get(NAME).champion]
            assert actions(one)[before:] == ["promote" if winner is done[0] else "rollback"]
        numbers = [version.number for version in one.history.versions(NAME)]
        assert numbers == list(range(1, len(numbers) + 1))

    def test_a_promotion_and_a_drop(self, open_one: Open) -> None:
        """A challenger that is promoted and dropped at once ends in one way only."""
        one, other = open_one(), open_one()
        lease, trainer = leased(one), trainer_of(one)
        for _ in range(ROUNDS):
            lineage, before = challenging(one, lease), len(actions(one))
            given = coronation(lease, lineage)
            promoted, dropped = at_once(
                lambda given=given: one.challengers.promote(given),
                lambda lineage=lineage: other.challengers.end(trainer, lineage, ChallengerStage.DROPPED, reason="slow"),
            )
            assert (promoted.refused is None) != (dropped.refused is None)
            assert isinstance(promoted.refused or dropped.refused, RefusedError)
            if isinstance(promoted.answered, tuple):
                lease = promoted.answered[1]
            assert champions(one) == [lease.lineage]
            assert actions(one)[before:] == ["promote" if promoted.refused is None else "drop"]

    def test_a_deletion_and_a_delivery(self, open_one: Open) -> None:
        """The model is deleted, and the delivery is before it or refused; neither waits for the other for ever."""
        one, other = open_one(), open_one()
        for _ in range(ROUNDS):
            lease, trainer = leased(one), trainer_of(one)
            job = trained(one, trainer)
            one.leases.release(lease)
            deleted, delivered = at_once(
                lambda: one.models.delete(NAME, actor="ann", reason=""),
                lambda given=job: other.job_runs.complete(given, CANDIDATE),
            )
            assert deleted.refused is None
            assert delivered.refused is None or isinstance(delivered.refused, NotFoundError)
            assert {name: found for name, found in totals(one).items() if found and name not in KEPT} == {}

    def test_a_deletion_and_a_decision(self, open_one: Open) -> None:
        """A job requested during a deletion is deleted with the model."""
        one, other = open_one(), open_one()
        for _ in range(ROUNDS):
            one.leases.release(leased(one))
            trainer = trainer_of(one)
            deleted, decided = at_once(
                lambda: one.models.delete(NAME, actor="ann", reason=""),
                lambda given=trainer: other.trainer_leases.record_decision(
                    given, RetrainDecision("drift", "errors", JobCause.DRIFT), job_request=WANTED
                ),
            )
            assert deleted.refused is None
            assert decided.refused is None or isinstance(decided.refused, LeaseLostError)
            assert count(one, "jobs") == count(one, "trainers") == 0

    def test_a_new_model_of_the_same_name(self, registry: Registry) -> None:
        """A new model of the same name has nothing of the deleted one."""
        lease = leased(registry)
        challenging(registry, lease)
        registry.leases.release(lease)
        registry.models.delete(NAME, actor="ann", reason="")
        registry.models.register(founding(ModelName(NAME), data=b"anew"))
        assert registry.challengers.list(NAME, finished=True) == []
        assert [one.number for one in registry.history.versions(NAME)] == [1]
