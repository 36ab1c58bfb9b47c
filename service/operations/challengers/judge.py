"""Judging challengers beside the champion: how far behind they are, how they compare, and what follows from that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from service.domain.registry.challenger import Challenger, ChallengerStage, ChallengerUpdate, ComparisonStart
from service.domain.registry.registry import ChangeOrigin, LineageId, RegisteredModel
from service.domain.specification.model import ModelSpec
from service.domain.specification.promotion import ComparisonEvidence, ComparisonVerdict
from service.domain.stream.exclusion import format_range, offset_ranges, time_ranges
from service.domain.stream.offset_ranges import overlaps, union_ranges
from service.domain.stream.position import OffsetRange
from service.domain.training.jobs import TrainerLease
from service.errors import LeaseLostError, RefusedError
from service.learning.evaluation.losses import pair_losses
from service.learning.evaluation.sequential_test import SequentialComparison, SequentialTestSettings
from service.operations.challengers.loss_cache import LossCache
from service.operations.challengers.promotion_request import request_promotion
from service.operations.history.reader import HistoryReader
from service.operations.services import Services
from service.operations.states.newest_checkpoint import newest_checkpoint

_log = structlog.get_logger(__name__)


MAX_LIVE_LAG = 10_000
"""A challenger is compared once it is at most this many offsets behind the champion, as a replay that takes over."""


@dataclass(frozen=True, slots=True)
class ChallengerJudge:
    """Judges challengers, and drops one that has run for `patience_s` seconds without catching up any further."""

    services: Services
    loss_cache: LossCache
    patience_s: float

    def judge_all(self, trainer: TrainerLease, *, ran_s: Mapping[LineageId, float]) -> None:
        """Judge every challenger of a model, given how long each has run; raise LeaseLostError for a lost lease."""
        model = self.services.registry.models.get(trainer.model)
        if model.champion is None or model.frozen:
            return
        for challenger in self.services.registry.challengers.list(trainer.model):
            try:
                self._judge_challenger(trainer, model, challenger, ran_s=ran_s.get(challenger.lineage, 0.0))
            except LeaseLostError:
                raise
            except RefusedError as error:
                _log.info("challenger_skipped", model=model.name, lineage=challenger.lineage, reason=str(error))

    def _judge_challenger(
        self, trainer: TrainerLease, model: RegisteredModel, challenger: Challenger, *, ran_s: float
    ) -> None:
        assert model.champion is not None
        drop_reason = _learned_excluded_reason(self.services, challenger)
        if drop_reason:
            return self._end(trainer, challenger, ChallengerStage.DROPPED, drop_reason)
        champion, own_checkpoint = (
            newest_checkpoint(self.services, lineage) for lineage in (model.champion, challenger.lineage)
        )
        behind = sum(
            max(end - own_checkpoint.position.offsets.get(at, 0), 0) for at, end in champion.position.offsets.items()
        )
        if is_progress(challenger, behind):
            if behind != challenger.behind:
                self.services.registry.challengers.record_update(
                    trainer, challenger.lineage, ChallengerUpdate(behind=behind)
                )
        elif min(self._stalled_s(trainer, challenger), ran_s) > self.patience_s:
            reason = f"found it {behind:,} offsets behind the champion, no nearer for {self.patience_s:g} s"
            return self._end(trainer, challenger, ChallengerStage.DROPPED, reason)
        if challenger.live is not None and challenger.live.champion == model.champion:
            return self._act_on_evidence(trainer, model, challenger, challenger.live)
        if behind <= MAX_LIVE_LAG:
            stage = challenger.stage if challenger.stage is ChallengerStage.PROBATION else ChallengerStage.SHADOW
            live = ComparisonStart(model.champion, champion.position, champion.sequence, own_checkpoint.sequence)
            self.services.registry.challengers.record_update(
                trainer, challenger.lineage, ChallengerUpdate(stage=stage, live=live)
            )
            _log.info("challenger_live", model=model.name, lineage=challenger.lineage, version=challenger.version)
        return None

    def _stalled_s(self, trainer: TrainerLease, challenger: Challenger) -> float:
        """Return for how many seconds it has come no nearer, by the registry's clock as the lease carries it."""
        now = trainer.expires_at - timedelta(seconds=self.services.lease_ttl_s)
        return 0.0 if challenger.behind_since is None else (now - challenger.behind_since).total_seconds()

    def _act_on_evidence(
        self, trainer: TrainerLease, model: RegisteredModel, challenger: Challenger, live: ComparisonStart
    ) -> None:
        if challenger.stage is ChallengerStage.RECOMMENDED:
            return
        services, spec = self.services, ModelSpec.model_validate(model.spec)
        evidence_now = self.evidence(spec, challenger, live)
        if evidence_now.to_json() != challenger.evidence:
            services.registry.challengers.record_update(
                trainer, challenger.lineage, ChallengerUpdate(evidence=evidence_now.to_json())
            )
        if evidence_now.verdict is ComparisonVerdict.REJECT:
            stage = (
                ChallengerStage.RETIRED if challenger.stage is ChallengerStage.PROBATION else ChallengerStage.REJECTED
            )
            self._end(trainer, challenger, stage, evidence_now.reason)
        elif evidence_now.verdict is ComparisonVerdict.PROMOTE and spec.promote.mode == "manual":
            services.registry.challengers.record_update(
                trainer,
                challenger.lineage,
                ChallengerUpdate(stage=ChallengerStage.RECOMMENDED, reason=evidence_now.reason),
            )
            promote_command = f"headrace model promote {model.name} {challenger.version}"
            log_fields = {"version": challenger.version, "why": evidence_now.reason, "do": promote_command}
            _log.info("promotion_recommended", model=model.name, **log_fields)
        elif evidence_now.verdict is ComparisonVerdict.PROMOTE:
            self._promote(challenger, evidence_now)

    def _promote(self, challenger: Challenger, evidence: ComparisonEvidence) -> None:
        reason = f"{'in probation ' if challenger.stage is ChallengerStage.PROBATION else ''}{evidence.reason}"
        origin = ChangeOrigin("trainer", reason)
        outcome = request_promotion(self.services, challenger, origin=origin, evidence=evidence.to_json(), wait_s=0.0)
        if outcome is not None:
            _log.info("challenger_promoted", model=challenger.model, version=challenger.version, outcome=outcome)

    def evidence(self, spec: ModelSpec, challenger: Challenger, live: ComparisonStart) -> ComparisonEvidence:
        """Return the verdict of the sequential test on the losses of both since the challenger is live.

        The losses are read from the score journals each time, so there are no running sums that a crash could lose.
        """
        if challenger.stage is ChallengerStage.PROBATION:
            terms = SequentialTestSettings.of_probation(spec.promote, spec.task)
        else:
            ordinal = _ordinal(self.services, challenger, live)
            terms = SequentialTestSettings.of_shadow(spec.promote, spec.task, ordinal=ordinal)
        champion = self.loss_cache.losses(live.champion, terms.loss, after=live.champion_sequence)
        challenger_losses = self.loss_cache.losses(challenger.lineage, terms.loss, after=live.sequence)
        return (
            SequentialComparison(terms)
            .updated(pair_losses(champion, challenger_losses, since=live.position.offsets))
            .evidence()
        )

    def _end(self, trainer: TrainerLease, challenger: Challenger, stage: ChallengerStage, reason: str) -> None:
        self.services.registry.challengers.end(trainer, challenger.lineage, stage, reason=reason)
        log_fields = {"version": challenger.version, "stage": stage, "reason": reason}
        _log.info("challenger_ended", model=challenger.model, **log_fields)


def is_progress(challenger: Challenger, behind: int) -> bool:
    """Return whether it is near, or nearer than when that was last recorded; one that has been near starts over."""
    previous = challenger.behind
    return behind <= MAX_LIVE_LAG or previous is None or previous <= MAX_LIVE_LAG or behind < previous


def _ordinal(services: Services, challenger: Challenger, live: ComparisonStart) -> int:
    """Return which challenger of this champion it is (1, 2, ...): together they share one error level."""
    challengers = services.registry.challengers.list(challenger.model, finished=True)
    earlier_lineages = [
        one.lineage for one in challengers if one.live is not None and one.live.champion == live.champion
    ]
    return (
        earlier_lineages.index(challenger.lineage) + 1
        if challenger.lineage in earlier_lineages
        else len(earlier_lineages) + 1
    )


def _learned_excluded_reason(services: Services, challenger: Challenger) -> str | None:
    """Return why it must be dropped, where it has learned records that were excluded after it began; else None."""
    newer_ranges = [
        one.excluded_range
        for one in services.registry.exclusions.list(challenger.model)
        if one.created_at is not None and one.created_at > challenger.created_at
    ]
    if not newer_ranges:
        return None
    learned = _learned_runs(services, challenger)
    excluded_offsets: Sequence[OffsetRange] = offset_ranges(newer_ranges)
    if time_ranges(newer_ranges):
        history = HistoryReader(services, ModelSpec.model_validate(services.registry.models.get(challenger.model).spec))
        try:
            excluded_offsets = [*excluded_offsets, *history.excluded_runs(learned, excluded_ranges=newer_ranges)]
        finally:
            history.close()
    excluded_run = next((one for one in union_ranges(excluded_offsets) if overlaps(learned, [one])), None)
    return None if excluded_run is None else f"found {format_range(excluded_run)} excluded, which it has learned"


def _learned_runs(services: Services, challenger: Challenger) -> list[OffsetRange]:
    version = services.registry.history.version(challenger.model, challenger.version)
    journal = services.registry.checkpoints.journal(challenger.lineage, scores=False)
    return union_ranges([*version.learned, *(run for segment in journal for run in segment.order)])
