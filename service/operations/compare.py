"""Challengers beside the champion: how near they are, how they compare, and what follows from it."""

from collections.abc import Sequence
from datetime import timedelta

import structlog

from service.domain.challenging import Challenger, Live, Note, Stage
from service.domain.exclusion import offsets, shown, times
from service.domain.jobs import Trainer
from service.domain.order import touches, union
from service.domain.position import Run
from service.domain.promotion import Evidence, Verdict
from service.domain.registry import Checkpoint, CommandKind, Json, LineageId, Model, Origin
from service.domain.specification import ModelSpec
from service.errors import LeaseLostError, RefusedError
from service.learning.comparison import Comparison, Terms
from service.learning.losses import Losses, losses, paired
from service.learning.score_journal import arrays
from service.operations.ask import ask
from service.operations.history import History
from service.operations.services import Services

_log = structlog.get_logger(__name__)

NEAR = 10_000
"""Offsets behind the champion; as many as a replay may be when it takes over."""
PATIENCE_S = 300.0


def compare(services: Services, held: Trainer) -> None:
    """Look at every challenger of a model once; LeaseLostError where another trainer does."""
    model = services.models.get(held.model)
    if model.champion is None or model.frozen:
        return
    for challenger in services.challengers.list(held.model):
        try:
            _look_at(services, held, model, challenger)
        except LeaseLostError:
            raise
        except RefusedError as error:
            _log.info("challenger_left_alone", model=model.name, lineage=challenger.lineage, reason=str(error))


def request_promotion(
    services: Services, challenger: Challenger, *, origin: Origin, evidence: Json, wait_s: float
) -> str | None:
    """What became of it; None where the champion's holder has yet to do it."""
    model = services.models.get(challenger.model)
    spec = ModelSpec.model_validate(model.spec).promote
    arguments = {
        "lineage": challenger.lineage,
        "champion": model.champion,
        "probation": spec.probation.events > 0,
        "reason": origin.reason,
        "evidence": dict(evidence),
    }
    kind = CommandKind.PROMOTE
    waiting = services.commands.pending(model.name)
    if any(one.kind is kind and one.arguments.get("lineage") == challenger.lineage for one in waiting):
        return None
    return ask(services, model.name, kind=kind, arguments=arguments, actor=origin.actor, wait_s=wait_s)


def _look_at(services: Services, held: Trainer, model: Model, challenger: Challenger) -> None:
    spoilt = _spoilt(services, challenger)
    if spoilt:
        return _end(services, held, challenger, Stage.DROPPED, spoilt)
    assert model.champion is not None
    champion, own = (_newest(services, lineage) for lineage in (model.champion, challenger.lineage))
    behind = sum(max(end - own.position.offsets.get(at, 0), 0) for at, end in champion.position.offsets.items())
    is_progress = behind <= NEAR or challenger.behind is None or behind < challenger.behind
    known = services.challengers.note(held, challenger.lineage, Note(behind=behind if is_progress else None))
    if known.behind_since is not None and known.updated_at - known.behind_since > timedelta(seconds=PATIENCE_S):
        reason = f"found it {behind:,} offsets behind the champion, no nearer for {PATIENCE_S:.0f} s"
        return _end(services, held, challenger, Stage.DROPPED, reason)
    if known.live is None or known.live.champion != model.champion:
        if behind <= NEAR:
            stage = known.stage if known.stage is Stage.PROBATION else Stage.SHADOW
            live = Live(model.champion, champion.position, champion.sequence, own.sequence)
            services.challengers.note(held, challenger.lineage, Note(stage=stage, live=live))
            _log.info("challenger_live", model=model.name, lineage=challenger.lineage, version=challenger.version)
        return None
    return _judge(services, held, model, known)


def _judge(services: Services, held: Trainer, model: Model, challenger: Challenger) -> None:
    spec = ModelSpec.model_validate(model.spec)
    assert challenger.live is not None
    found = evidence(services, spec, challenger, challenger.live)
    if found.to_json() != challenger.evidence:
        services.challengers.note(held, challenger.lineage, Note(evidence=found.to_json()))
    is_probation = challenger.stage is Stage.PROBATION
    if found.verdict is Verdict.REJECT:
        stage = Stage.RETIRED if is_probation else Stage.REJECTED
        return _end(services, held, challenger, stage, found.reason)
    if found.verdict is Verdict.WAIT or challenger.stage is Stage.RECOMMENDED:
        return None
    if spec.promote.mode == "manual":
        services.challengers.note(held, challenger.lineage, Note(stage=Stage.RECOMMENDED, reason=found.reason))
        repair = f"headrace model promote {model.name} {challenger.version}"
        _log.info("promotion_recommended", model=model.name, version=challenger.version, why=found.reason, do=repair)
        return None
    reason = f"{'in probation ' if is_probation else ''}{found.reason}"
    origin = Origin("trainer", reason)
    done = request_promotion(services, challenger, origin=origin, evidence=found.to_json(), wait_s=0.0)
    if done is not None:
        _log.info("challenger_promoted", model=model.name, version=challenger.version, outcome=done)
    return None


def evidence(services: Services, spec: ModelSpec, challenger: Challenger, live: Live) -> Evidence:
    """What the journals of both say since the challenger is live; they are read anew, so that nothing is kept twice."""
    if challenger.stage is Stage.PROBATION:
        terms = Terms.of_probation(spec.promote, spec.task)
    else:
        terms = Terms.of_shadow(spec.promote, spec.task, ordinal=_ordinal(services, challenger, live))
    champion = _losses(services, live.champion, terms, after=live.champion_sequence)
    own = _losses(services, challenger.lineage, terms, after=live.sequence)
    return Comparison(terms).fed(paired(champion, own, since=live.position.offsets)).evidence()


def _losses(services: Services, lineage: LineageId, terms: Terms, *, after: int) -> list[Losses]:
    segments = services.checkpoints.journal(lineage, after=after)
    return [losses(run, terms.loss) for segment in segments for run in arrays(segment.scores)]


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
    version = next(one for one in services.history.versions(challenger.model) if one.number == challenger.version)
    journal = services.checkpoints.journal(challenger.lineage, scores=False)
    return union([*version.learned, *(run for segment in journal for run in segment.order)])


def _newest(services: Services, lineage: LineageId) -> Checkpoint:
    return services.checkpoints.newest_first(lineage)[0]


def _end(services: Services, held: Trainer, challenger: Challenger, stage: Stage, reason: str) -> None:
    services.challengers.end(held, challenger.lineage, stage, reason=reason)
    _log.info("challenger_ended", model=challenger.model, version=challenger.version, stage=stage, reason=reason)
