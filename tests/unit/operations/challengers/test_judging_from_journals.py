"""What becomes of challengers, from what both lineages have committed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from service.domain.registry.challenger import Challenger, ChallengerStage
from service.domain.registry.registry import ChangeOrigin, CommandKind, LineageId
from service.domain.training.jobs import TrainerLease
from service.errors import LeaseLostError, NotFoundError, RefusedError
from service.operations.challengers import judge as judging
from service.operations.challengers.judge import ChallengerJudge
from service.operations.challengers.loss_cache import LossCache
from service.operations.challengers.promotion_request import promote_by_hand
from service.operations.history.exclusions import record_exclusion
from tests.acceptance.harness import PHISHING, Deployment
from tests.learned_model import LearnedModel, learned_model

SHORT = {"shadow": {"min_events": 20, "max_events": 400, "block": 5}, "probation": {"events": 200}}
COMPARED = 400


def estimator(learning_rate: float) -> list[Any]:
    """Return a pipeline that learns so fast, or hardly at all."""
    optimizer = {"optim.SGD": {"lr": learning_rate}}
    return ["preprocessing.StandardScaler", {"linear_model.LogisticRegression": {"optimizer": optimizer}}]


GOOD, BAD = estimator(0.05), estimator(1e-9)


@dataclass
class Contest:
    """A champion, and the challengers that it meets."""

    model: LearnedModel
    patience_s: float = 60.0

    def challenge(self, expression: list[Any]) -> Challenger:
        """Return a challenger of another estimator, which has learned nothing."""
        changed = {**self.model.spec.model_dump(mode="json"), "estimator": expression}
        self.model.run(CommandKind.APPLY, spec=changed)
        return self.model.services.registry.challengers.list(self.model.name)[-1]

    @property
    def trainer(self) -> TrainerLease:
        """Return the right to judge."""
        return self.model.services.training.trainers.acquire(self.model.name, holder="trainer", ttl_s=60.0)

    def judge(self, *, trainer: TrainerLease | None = None, ran_s: Mapping[LineageId, float] | None = None) -> None:
        """Look at every challenger."""
        services = self.model.services
        judge = ChallengerJudge(services, LossCache(services.registry.checkpoints), self.patience_s)
        judge.judge_all(trainer or self.trainer, ran_s=ran_s or {})

    def learn(self, challenger: Challenger, count: int) -> None:
        """Have both learn the same events."""
        self.model.learn(count)
        self.catch_up(challenger, count)

    def catch_up(self, challenger: Challenger, count: int) -> None:
        """Have the challenger alone learn more events."""
        self.model.learn(
            count, lineage=self.model.services.registry.history.lineage(self.model.name, challenger.lineage)
        )

    def now(self, challenger: Challenger) -> Challenger:
        """Return the challenger as the registry has it now."""
        found = self.model.services.registry.challengers.list(self.model.name, finished=True)
        return next(one for one in found if one.version == challenger.version)


@contextmanager
def contest(folder: Path, *, champion: list[Any], **promote: Any) -> Iterator[Contest]:
    """Open a model whose comparisons are short."""
    spec = {**PHISHING, "estimator": champion, "checkpoint": {"every": "1h"}, "promote": {**SHORT, **promote}}
    with learned_model(Deployment(folder, spec)) as model:
        yield Contest(model)


@pytest.fixture
def better(tmp_path: Path) -> Iterator[Contest]:
    """A champion that hardly learns."""
    with contest(tmp_path, champion=BAD) as opened:
        yield opened


@pytest.fixture
def worse(tmp_path: Path) -> Iterator[Contest]:
    """A champion that learns well."""
    with contest(tmp_path, champion=GOOD) as opened:
        yield opened


class TestCatchingUp:
    """Before a challenger can be compared."""

    def test_one_that_is_near_goes_live(self, worse: Contest) -> None:
        """From the commit at which a challenger is near, both are compared."""
        challenger = worse.challenge(BAD)
        worse.learn(challenger, 30)
        worse.judge()
        found = worse.now(challenger)
        assert found.stage is ChallengerStage.SHADOW
        assert found.live is not None
        assert (found.live.champion, found.live.champion_sequence, found.live.sequence) == (
            worse.model.champion.id,
            1,
            1,
        )
        assert [*found.live.position.offsets.values()] == [30]

    def test_one_that_is_far_is_waited_for(self, worse: Contest, monkeypatch: pytest.MonkeyPatch) -> None:
        """How far a challenger is behind is noted, and noted again as it comes nearer."""
        monkeypatch.setattr(judging, "MAX_LIVE_LAG", 5)
        challenger = worse.challenge(BAD)
        worse.model.learn(30)
        for learned, behind in ((5, 25), (10, 15)):
            worse.catch_up(challenger, learned)
            worse.judge(ran_s={challenger.lineage: 1000.0})
            found = worse.now(challenger)
            assert (found.stage, found.behind) == (ChallengerStage.CATCHING_UP, behind)

    def test_one_that_comes_no_nearer_is_dropped(self, worse: Contest, monkeypatch: pytest.MonkeyPatch) -> None:
        """A challenger that has run and gained nothing is dropped; one that has not run is not to blame."""
        monkeypatch.setattr(judging, "MAX_LIVE_LAG", 5)
        worse.patience_s = 0.0
        challenger = worse.challenge(BAD)
        worse.model.learn(30)
        worse.judge()
        worse.judge()
        assert worse.now(challenger).stage is ChallengerStage.CATCHING_UP
        worse.judge(ran_s={challenger.lineage: 5.0})
        found = worse.now(challenger)
        assert found.stage is ChallengerStage.DROPPED
        assert found.reason == "found it 30 offsets behind the champion, no nearer for 0 s"

    def test_one_that_has_learned_what_is_excluded(self, worse: Contest) -> None:
        """A challenger cannot unlearn: an exclusion of what it has learned drops it, and one of what is to come not."""
        challenger = worse.challenge(BAD)
        worse.learn(challenger, 30)
        record_exclusion(worse.model.services, worse.model.name, "30..40", actor="ann", reason="")
        worse.judge()
        assert worse.now(challenger).stage is ChallengerStage.SHADOW
        record_exclusion(worse.model.services, worse.model.name, "10..12", actor="ann", reason="")
        worse.judge()
        found = worse.now(challenger)
        assert found.stage is ChallengerStage.DROPPED
        assert found.reason == "found phishing.events/0:10..12 excluded, which it has learned"

    def test_of_a_frozen_model(self, worse: Contest) -> None:
        """While a model is frozen nobody is judged."""
        challenger = worse.challenge(BAD)
        worse.model.run(CommandKind.FREEZE, reason="holiday")
        worse.judge()
        assert worse.now(challenger).stage is ChallengerStage.CATCHING_UP

    def test_by_another_trainer(self, worse: Contest) -> None:
        """Whoever has lost the right to judge changes nothing."""
        challenger = worse.challenge(BAD)
        lease = worse.trainer
        with pytest.raises(LeaseLostError):
            worse.judge(trainer=replace(lease, epoch=lease.epoch + 1))
        assert worse.now(challenger).stage is ChallengerStage.CATCHING_UP


def live(found: Contest, expression: list[Any]) -> Challenger:
    """Return a challenger that was compared with the champion on enough events."""
    challenger = found.challenge(expression)
    found.learn(challenger, 30)
    found.judge()
    found.learn(challenger, COMPARED)
    return challenger


class TestVerdicts:
    """After the comparison."""

    def test_one_that_is_no_better_is_rejected(self, worse: Contest) -> None:
        """A challenger whose losses are no smaller ends with the evidence, and the champion stays."""
        before = worse.model.champion
        challenger = live(worse, BAD)
        worse.judge()
        found = worse.now(challenger)
        assert (found.stage, worse.model.champion) == (ChallengerStage.REJECTED, before)
        assert found.reason == found.evidence["reason"]
        assert found.evidence["champion_loss"] < found.evidence["challenger_loss"]

    def test_one_that_is_better_takes_over(self, better: Contest) -> None:
        """A better challenger becomes champion, and the old one goes on trial as its challenger."""
        before = better.model.champion
        challenger = live(better, GOOD)
        better.judge()
        assert better.model.champion.id == challenger.lineage
        (trial,) = better.model.services.registry.challengers.list(better.model.name)
        assert (trial.lineage, trial.stage) == (before.id, ChallengerStage.PROBATION)
        entry = better.model.services.registry.history.audit(better.model.name)[-1]
        assert (entry.actor, entry.action) == ("trainer", "promote")
        assert entry.evidence["challenger_loss"] < entry.evidence["champion_loss"]

    def test_the_old_champion_retires(self, better: Contest) -> None:
        """A champion that was replaced and proves no better in its time of probation is retired."""
        before = better.model.champion
        live(better, GOOD)
        better.judge()
        (trial,) = better.model.services.registry.challengers.list(better.model.name)
        better.learn(trial, COMPARED)
        better.judge()
        assert better.model.services.registry.challengers.list(better.model.name) == []
        ends = [one.stage for one in better.model.services.registry.challengers.list(better.model.name, finished=True)]
        assert sorted(ends) == [ChallengerStage.PROMOTED, ChallengerStage.RETIRED]
        assert better.model.champion.id != before.id

    def test_one_that_is_better_is_recommended(self, tmp_path: Path) -> None:
        """Where a person decides, the judge recommends once, and waits."""
        with contest(tmp_path, champion=BAD, mode="manual") as found:
            before = found.model.champion
            challenger = live(found, GOOD)
            found.judge()
            recommended = found.now(challenger)
            assert (recommended.stage, found.model.champion) == (ChallengerStage.RECOMMENDED, before)
            found.learn(challenger, 20)
            found.judge()
            assert found.now(challenger).evidence == recommended.evidence

    def test_a_learner_elsewhere_promotes(self, better: Contest) -> None:
        """Where another process writes the champion it is asked once, and does it."""
        challenger = live(better, GOOD)
        services = better.model.services
        services.registry.leases.acquire(better.model.champion.id, holder="elsewhere", ttl_s=60.0)
        for _ in range(2):
            better.judge()
        (command,) = services.registry.commands.pending(better.model.name)
        assert (command.kind, command.arguments["lineage"]) == (CommandKind.PROMOTE, challenger.lineage)
        assert better.now(challenger).stage is ChallengerStage.SHADOW

    def test_the_level_is_shared(self, tmp_path: Path) -> None:
        """Each further challenger of one champion has to prove more, so that chance crowns none of many."""
        with contest(tmp_path, champion=GOOD) as found:
            levels = []
            for _ in range(2):
                challenger = live(found, BAD)
                found.judge()
                levels.append(found.now(challenger).evidence["level"])
        assert levels[1] < levels[0]


class TestByHand:
    """A person makes a challenger champion."""

    def test_it_takes_over(self, worse: Contest) -> None:
        """A person's promotion needs no evidence, and says that it was by hand."""
        challenger = worse.challenge(BAD)
        origin = ChangeOrigin("ann", "")
        command = promote_by_hand(worse.model.services, worse.model.name, challenger.version, origin=origin, wait_s=1.0)
        assert command.outcome == f"version {challenger.version} takes over"
        entry = worse.model.services.registry.history.audit(worse.model.name)[-1]
        assert (entry.actor, entry.reason, entry.evidence["by_hand"]) == ("ann", "by hand", True)

    def test_one_that_is_not_there(self, worse: Contest) -> None:
        """The refusal names the challengers that there are."""
        challenger = worse.challenge(BAD)
        expected = (
            f"no challenger of phishing that began with version 9, .* version {challenger.version} \\(catching_up\\)"
        )
        with pytest.raises(NotFoundError, match=expected):
            promote_by_hand(worse.model.services, worse.model.name, 9, origin=ChangeOrigin("ann"), wait_s=0.0)

    def test_one_that_was_asked_for_before(self, worse: Contest) -> None:
        """While the learner has yet to promote it, asking again is refused."""
        challenger = worse.challenge(BAD)
        services, origin = worse.model.services, ChangeOrigin("ann")
        services.registry.leases.acquire(worse.model.champion.id, holder="elsewhere", ttl_s=60.0)
        promote_by_hand(services, worse.model.name, challenger.version, origin=origin, wait_s=0.0)
        with pytest.raises(RefusedError, match="requested already, expected none; the learner carries it out"):
            promote_by_hand(services, worse.model.name, challenger.version, origin=origin, wait_s=0.0)
