"""Challengers beside the champion: how near they are, how they compare, and what follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from service.domain.registry.challenger import Challenger, Live, Note, Stage
from service.domain.registry.registry import LineageId, Model, Origin
from service.domain.specification.model import ModelSpec
from service.domain.specification.promotion import Evidence, Verdict
from service.domain.stream.exclusion import offsets, shown, times
from service.domain.stream.offset_ranges import touches, union
from service.domain.stream.position import Run
from service.domain.training.jobs import Trainer
from service.errors import LeaseLostError, RefusedError
from service.learning.evaluation.losses import paired
from service.learning.evaluation.sequential_test import Comparison, Terms
from service.operations.challengers.loss_cache import LossJournals
from service.operations.challengers.promotion_request import request_promotion
from service.operations.history.reader import History
from service.operations.services import Services
from service.operations.states.newest_checkpoint import newest_checkpoint

_log = structlog.get_logger(__name__)


NEAR = 10_000
"""Offsets behind the champion; as many as a replay may be when it takes over."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Looks at challengers; one that has run and come no nearer for `patience_s` is dropped."""

    services: Services
    journals: LossJournals
    patience_s: float

    def look(self, held: Trainer, *, ran_s: Mapping[LineageId, float]) -> None:
        """At every challenger of a model, by how long each has run; LeaseLostError where another trainer does."""
        model = self.services.models.get(held.model)
        if model.champion is None or model.frozen:
            return
        for challenger in self.services.challengers.list(held.model):
            try:
                self._look_at(held, model, challenger, ran_s=ran_s.get(challenger.lineage, 0.0))
            except LeaseLostError:
                raise
            except RefusedError as error:
                _log.info("challenger_left_alone", model=model.name, lineage=challenger.lineage, reason=str(error))

    def _look_at(self, held: Trainer, model: Model, challenger: Challenger, *, ran_s: float) -> None:
        assert model.champion is not None
        spoilt = _spoilt(self.services, challenger)
        if spoilt:
            return self._end(held, challenger, Stage.DROPPED, spoilt)
        champion, own = (newest_checkpoint(self.services, lineage) for lineage in (model.champion, challenger.lineage))
        behind = sum(max(end - own.position.offsets.get(at, 0), 0) for at, end in champion.position.offsets.items())
        if is_progress(challenger, behind):
            if behind != challenger.behind:
                self.services.challengers.note(held, challenger.lineage, Note(behind=behind))
        elif min(self._waited_s(held, challenger), ran_s) > self.patience_s:
            reason = f"found it {behind:,} offsets behind the champion, no nearer for {self.patience_s:g} s"
            return self._end(held, challenger, Stage.DROPPED, reason)
        if challenger.live is not None and challenger.live.champion == model.champion:
            return self._judge(held, model, challenger, challenger.live)
        if behind <= NEAR:
            stage = challenger.stage if challenger.stage is Stage.PROBATION else Stage.SHADOW
            live = Live(model.champion, champion.position, champion.sequence, own.sequence)
            self.services.challengers.note(held, challenger.lineage, Note(stage=stage, live=live))
            _log.info("challenger_live", model=model.name, lineage=challenger.lineage, version=challenger.version)
        return None

    def _waited_s(self, held: Trainer, challenger: Challenger) -> float:
        """Since it last came nearer, by the registry's clock as the lease has it."""
        now = held.expires_at - timedelta(seconds=self.services.lease_ttl_s)
        return 0.0 if challenger.behind_since is None else (now - challenger.behind_since).total_seconds()

    def _judge(self, held: Trainer, model: Model, challenger: Challenger, live: Live) -> None:
        if challenger.stage is Stage.RECOMMENDED:
            return
        services, spec = self.services, ModelSpec.model_validate(model.spec)
        found = self.evidence(spec, challenger, live)
        if found.to_json() != challenger.evidence:
            services.challengers.note(held, challenger.lineage, Note(evidence=found.to_json()))
        if found.verdict is Verdict.REJECT:
            stage = Stage.RETIRED if challenger.stage is Stage.PROBATION else Stage.REJECTED
            self._end(held, challenger, stage, found.reason)
        elif found.verdict is Verdict.PROMOTE and spec.promote.mode == "manual":
            services.challengers.note(held, challenger.lineage, Note(stage=Stage.RECOMMENDED, reason=found.reason))
            repair = f"headrace model promote {model.name} {challenger.version}"
            told = {"version": challenger.version, "why": found.reason, "do": repair}
            _log.info("promotion_recommended", model=model.name, **told)
        elif found.verdict is Verdict.PROMOTE:
            self._promote(challenger, found)

    def _promote(self, challenger: Challenger, found: Evidence) -> None:
        reason = f"{'in probation ' if challenger.stage is Stage.PROBATION else ''}{found.reason}"
        origin = Origin("trainer", reason)
        done = request_promotion(self.services, challenger, origin=origin, evidence=found.to_json(), wait_s=0.0)
        if done is not None:
            _log.info("challenger_promoted", model=challenger.model, version=challenger.version, outcome=done)

    def evidence(self, spec: ModelSpec, challenger: Challenger, live: Live) -> Evidence:
        """What the journals of both say since the challenger is live; no sums are kept that could be lost."""
        if challenger.stage is Stage.PROBATION:
            terms = Terms.of_probation(spec.promote, spec.task)
        else:
            ordinal = _ordinal(self.services, challenger, live)
            terms = Terms.of_shadow(spec.promote, spec.task, ordinal=ordinal)
        champion = self.journals.losses(live.champion, terms.loss, after=live.champion_sequence)
        own = self.journals.losses(challenger.lineage, terms.loss, after=live.sequence)
        return Comparison(terms).fed(paired(champion, own, since=live.position.offsets)).evidence()

    def _end(self, held: Trainer, challenger: Challenger, stage: Stage, reason: str) -> None:
        self.services.challengers.end(held, challenger.lineage, stage, reason=reason)
        told = {"version": challenger.version, "stage": stage, "reason": reason}
        _log.info("challenger_ended", model=challenger.model, **told)


def is_progress(challenger: Challenger, behind: int) -> bool:
    """Whether it is near, or nearer than it was when that was last noted; one that has been near begins anew."""
    known = challenger.behind
    return behind <= NEAR or known is None or known <= NEAR or behind < known


def _ordinal(services: Services, challenger: Challenger, live: Live) -> int:
    """The how many-th this champion meets, so that the level is shared by all that it ever does."""
    known = services.challengers.list(challenger.model, finished=True)
    met = [one.lineage for one in known if one.live is not None and one.live.champion == live.champion]
    return met.index(challenger.lineage) + 1 if challenger.lineage in met else len(met) + 1


def _spoilt(services: Services, challenger: Challenger) -> str | None:
    """Why what it has learned is not to be: an exclusion that came after it."""
    newer = [
        one.stretch
        for one in services.exclusions.list(challenger.model)
        if one.created_at is not None and one.created_at > challenger.created_at
    ]
    if not newer:
        return None
    learned = _learned(services, challenger)
    holes: Sequence[Run] = offsets(newer)
    if times(newer):
        history = History(services, ModelSpec.model_validate(services.models.get(challenger.model).spec))
        try:
            holes = [*holes, *history.excluded(learned, stretches=newer)]
        finally:
            history.close()
    hit = next((hole for hole in union(holes) if touches(learned, [hole])), None)
    return None if hit is None else f"found {shown(hit)} excluded, which it has learned"


def _learned(services: Services, challenger: Challenger) -> list[Run]:
    version = services.history.version(challenger.model, challenger.version)
    journal = services.checkpoints.journal(challenger.lineage, scores=False)
    return union([*version.learned, *(run for segment in journal for run in segment.order)])
