"""The account that a job gives of a searched retraining, as a report and as evidence."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from service.domain.specification.candidates import Recipe, label_text
from service.domain.specification.retrain import RetrainSpec
from service.domain.specification.split import CvSpec, SplitSpec, WindowSpec
from service.domain.stream.events import Task
from service.domain.stream.exclusion import shown
from service.domain.training.evaluation import Evaluation, Performance
from service.domain.training.jobs import Job
from service.domain.training.report import (
    DataWindow,
    Decision,
    FoldResult,
    RetrainingReport,
    SearchResult,
    SplitPart,
    TrialResult,
)
from service.learning.batch.models import release_of
from service.learning.datasets.dataset import TrainingData
from service.learning.estimators.candidates import is_batch
from service.learning.search.score import bigger_is_better
from service.learning.search.trials import Trial
from service.operations.reporting.report import texts
from service.operations.retraining.baseline import Outset
from service.operations.retraining.catch_up import Telling
from service.operations.retraining.holdout import Examination
from service.operations.retraining.selection import Contest, Winner

MOST_LABELS = 10


@dataclass(frozen=True, slots=True)
class Account:
    """All that a searched retraining came to."""

    job: Job
    outset: Outset
    contest: Contest
    winner: Winner
    examination: Examination
    environment: Mapping[str, Any]

    def telling(self) -> Telling:
        """What is kept with the version."""
        return Telling(self._evidence(), texts(self.report()))

    def report(self) -> RetrainingReport:
        """Everything, in plain values."""
        material, spec, recipe = self.contest.material, self.outset.spec, self.winner.recipe
        given = self.contest.given
        return RetrainingReport(
            model=spec.name,
            task=spec.task.value,
            reason=self.job.reason or f"asked for by {self.job.requested_by} ({self.job.cause})",
            estimator=_recipe(recipe, factory=spec.factory),
            decision=Decision("it challenges the champion", self._reason(), self._evidence()["test"]),
            job=f"{self.job.id}",
            started_at=self.job.started_at,
            ended_at=datetime.now(UTC),
            champion=f"version {self.outset.champion}",
            window=self._window(),
            split=_split(given.split, given.cv, left_out=(material.parts.embargoed, material.parts.crossing)),
            parts=self._parts(),
            folds=tuple(self._folds()),
            search=self._search(),
            evaluation=self.examination.evaluation,
            environment={
                **{name: str(value) for name, value in self.environment.items()},
                **_releases(recipe, searched=self.winner.found is not None),
            },
            seeds=_seeds(spec.seed, given, searched=self.winner.found is not None),
            notes=tuple(self.winner.found.refused.values()) if self.winner.found else (),
        )

    def _window(self) -> DataWindow:
        data, exclusions = self.contest.material.data, tuple(map(shown, self.outset.stretches))
        return DataWindow(_asked(self.contest.given.window), *_span(data), data.counts.to_json(), exclusions)

    def _parts(self) -> tuple[SplitPart, ...]:
        parts = self.contest.material.parts
        named = {"train": parts.train, "validation": parts.validation, "test": self.examination.test}
        return tuple(_part(name, data) for name, data in named.items())

    def _evidence(self) -> dict[str, Any]:
        given, found = self.contest.given, self.winner.found
        best = None if found is None else found.require_best().outcome
        searched = (
            {}
            if found is None or best is None
            else {
                "trials": len(found.trials),
                "best": best.number,
                "metric": found.metric,
                "score": best.value,
                "ended": found.ended.value,
            }
        )
        recipe = self.winner.recipe
        return {
            "candidate": recipe.candidate,
            "parameters": dict(recipe.params),
            "rows": self.contest.material.data.counts.to_json(),
            "search": searched,
            "test": _test(self.examination.evaluation),
            "seeds": dict(_seeds(self.outset.spec.seed, given, searched=found is not None)),
        }

    def _reason(self) -> str:
        found = self.winner.found
        if found is None:
            return "there were no candidates to choose from, so the champion's own estimator was trained"
        by = "in cross-validation" if self.contest.given.cv is not None else "on the validation part"
        best = found.require_best()
        return f"trial {best.outcome.number} ({best.recipe.candidate}) was the best of {len(found.trials)} {by}"

    def _folds(self) -> Iterator[FoldResult]:
        found, cv = self.winner.found, self.contest.given.cv
        if found is None or cv is None:
            return
        scores = found.require_best().outcome.folds
        for number, ((train, test), score) in enumerate(zip(self.contest.material.folds, scores, strict=True), 1):
            yield FoldResult(number, len(train), len(test), score)

    def _search(self) -> SearchResult | None:
        found = self.winner.found
        if found is None:
            return None
        maximize = bigger_is_better(self.contest.metric, seed=self.outset.spec.seed)
        trials = tuple(map(_trial, found.trials))
        return SearchResult(found.metric, maximize, trials, found.require_best().outcome.number)


def _recipe(recipe: Recipe, *, factory: str | None) -> dict[str, Any]:
    return {
        "estimator": recipe.estimator if recipe.estimator is not None else factory,
        "epochs": recipe.epochs,
        "class_weights": recipe.class_weights,
        "warm_start": recipe.warm_start,
    }


def _releases(recipe: Recipe, *, searched: bool) -> Mapping[str, str]:
    """Of what a job needs and a learner does not."""
    used = ["optuna"] if searched else []
    if is_batch(recipe.estimator):
        name: str = recipe.estimator if isinstance(recipe.estimator, str) else next(iter(recipe.estimator))
        used.append(name.split(".")[1])
    return {one: release_of(one) for one in used}


def _trial(one: Trial) -> TrialResult:
    state = one.outcome.state.value
    why = f"{state}: {one.outcome.reason}" if one.outcome.reason else state
    return TrialResult(
        one.outcome.number,
        one.recipe.candidate,
        why,
        one.outcome.value,
        dict(one.recipe.params),
        one.outcome.duration_s,
        one.seed,
    )


def _test(found: Evaluation) -> dict[str, Any]:
    """The metrics of each side, by name."""
    sides: Mapping[str, Performance | None] = {
        "candidate": found.candidate,
        "champion": found.champion,
        "no_change": found.baseline,
    }
    told = {
        side: {metric: one.value for metric, one in performance.metrics.items()}
        for side, performance in sides.items()
        if performance is not None
    }
    return {"events": found.coverage.compared, **told}


def _asked(window: WindowSpec | None) -> str:
    assert window is not None
    span = f"{window.events:,} events" if window.events is not None else f"{window.days:g} days"
    return f"the newest {span}, duplicates by {window.duplicates}"


def _span(data: TrainingData) -> tuple[datetime | None, datetime | None]:
    if not len(data):
        return None, None
    first, last = (datetime.fromtimestamp(int(data.times[row]) / 1000, UTC) for row in (0, -1))
    return first, last


def _split(split: SplitSpec, cv: CvSpec | None, *, left_out: Sequence[int]) -> str:
    told = f"By {split.kind}: {split.train:g}, {split.validation:g} and {split.test:g} of the rows."
    if any(left_out):
        told += f" {left_out[0]:,} fell to the embargo, and {left_out[1]:,} have groups of an earlier part."
    if cv is not None:
        told += f" Candidates are chosen by {cv.folds} folds ({cv.kind}) of train and validation part."
    return told


def _part(name: str, data: TrainingData) -> SplitPart:
    classes: Mapping[str, int] = {}
    if data.task is not Task.REGRESSION:
        met = Counter(map(label_text, data.table.get_column("y").to_list()))
        classes = dict(met.most_common(MOST_LABELS))
    return SplitPart(name, len(data), *_span(data), classes)


def _seeds(seed: int, given: RetrainSpec, *, searched: bool) -> Mapping[str, int]:
    """All from which chance was drawn."""
    found = {"estimator": seed, "evaluation": seed}
    if given.split.kind != "time":
        found["split"] = seed if given.split.seed is None else given.split.seed
    if given.cv is not None and given.cv.shuffle:
        found["cv"] = seed if given.cv.seed is None else given.cv.seed
    return {**found, "search": seed} if searched else found
