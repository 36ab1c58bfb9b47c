"""The training evidence of a searched retraining: what is stored with the version, and the report."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from service.domain.specification.candidates import TrialRecipe, label_text
from service.domain.specification.retrain import RetrainSpec
from service.domain.specification.split import CvSpec, SplitSpec, WindowSpec
from service.domain.stream.events import Task
from service.domain.stream.exclusion import format_range
from service.domain.training.evaluation import Evaluation, Performance
from service.domain.training.jobs import Job
from service.domain.training.report import (
    DataWindow,
    FoldResult,
    ReportedDecision,
    RetrainingReport,
    SearchSummary,
    SplitPart,
    TrialResult,
)
from service.learning.batch.models import installed_version
from service.learning.datasets.dataset import TrainingData
from service.learning.estimators.candidates import is_batch_expression
from service.learning.search.score import bigger_is_better
from service.learning.search.trials import Trial
from service.operations.reporting.report import render_formats
from service.operations.retraining.baseline import TrainingBaseline
from service.operations.retraining.catch_up import TrainingEvidence
from service.operations.retraining.holdout import HoldoutEvaluation
from service.operations.retraining.selection import ModelSelection, SelectedCandidate

MAX_CLASSES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class RetrainingOutcome:
    """Everything that a searched retraining has found."""

    job: Job
    baseline: TrainingBaseline
    selection: ModelSelection
    selected: SelectedCandidate
    holdout: HoldoutEvaluation
    environment: Mapping[str, Any]

    def training_evidence(self) -> TrainingEvidence:
        """Return what is stored with the version."""
        return TrainingEvidence(self._evidence(), render_formats(self.report()))

    def report(self) -> RetrainingReport:
        """Return the whole outcome in plain values, for rendering."""
        datasets, spec, recipe = self.selection.datasets, self.baseline.spec, self.selected.recipe
        retrain_spec = self.selection.retrain_spec
        return RetrainingReport(
            model=spec.name,
            task=spec.task.value,
            reason=self.job.reason or f"asked for by {self.job.requested_by} ({self.job.cause})",
            estimator=_estimator_fields(recipe, factory=spec.factory),
            decision=ReportedDecision("it challenges the champion", self._reason(), self._evidence()["test"]),
            job=f"{self.job.id}",
            started_at=self.job.started_at,
            ended_at=datetime.now(UTC),
            champion=f"version {self.baseline.champion_version}",
            window=self._window(),
            split=_describe_split(
                retrain_spec.split, retrain_spec.cv, left_out=(datasets.parts.embargoed, datasets.parts.crossing)
            ),
            parts=self._parts(),
            folds=tuple(self._folds()),
            search=self._search(),
            evaluation=self.holdout.evaluation,
            environment={
                **{name: str(value) for name, value in self.environment.items()},
                **_package_versions(recipe, searched=self.selected.search_result is not None),
            },
            seeds=_seeds(spec.seed, retrain_spec, searched=self.selected.search_result is not None),
            notes=tuple(self.selected.search_result.refused.values()) if self.selected.search_result else (),
        )

    def _window(self) -> DataWindow:
        data, exclusions = self.selection.datasets.data, tuple(map(format_range, self.baseline.excluded_ranges))
        return DataWindow(
            _describe_window(self.selection.retrain_spec.window), *_time_range(data), data.counts.to_json(), exclusions
        )

    def _parts(self) -> tuple[SplitPart, ...]:
        parts = self.selection.datasets.parts
        named = {"train": parts.train, "validation": parts.validation, "test": self.holdout.test}
        return tuple(_split_part(name, data) for name, data in named.items())

    def _evidence(self) -> dict[str, Any]:
        retrain_spec, search_result = self.selection.retrain_spec, self.selected.search_result
        best = None if search_result is None else search_result.require_best().outcome
        search_summary = (
            {}
            if search_result is None or best is None
            else {
                "trials": len(search_result.trials),
                "best": best.number,
                "metric": search_result.metric,
                "score": best.value,
                "ended": search_result.ended.value,
            }
        )
        recipe = self.selected.recipe
        return {
            "candidate": recipe.candidate,
            "parameters": dict(recipe.params),
            "rows": self.selection.datasets.data.counts.to_json(),
            "search": search_summary,
            "test": _test_metrics(self.holdout.evaluation),
            "seeds": dict(_seeds(self.baseline.spec.seed, retrain_spec, searched=search_result is not None)),
        }

    def _reason(self) -> str:
        search_result = self.selected.search_result
        if search_result is None:
            return "there were no candidates to choose from, so the champion's own estimator was trained"
        by = "in cross-validation" if self.selection.retrain_spec.cv is not None else "on the validation part"
        best = search_result.require_best()
        return f"trial {best.outcome.number} ({best.recipe.candidate}) was the best of {len(search_result.trials)} {by}"

    def _folds(self) -> Iterator[FoldResult]:
        search_result, cv = self.selected.search_result, self.selection.retrain_spec.cv
        if search_result is None or cv is None:
            return
        scores = search_result.require_best().outcome.folds
        for number, ((train, test), score) in enumerate(zip(self.selection.datasets.folds, scores, strict=True), 1):
            yield FoldResult(number, len(train), len(test), score)

    def _search(self) -> SearchSummary | None:
        search_result = self.selected.search_result
        if search_result is None:
            return None
        maximize = bigger_is_better(self.selection.metric, seed=self.baseline.spec.seed)
        trials = tuple(map(_trial_result, search_result.trials))
        return SearchSummary(search_result.metric, maximize, trials, search_result.require_best().outcome.number)


def _estimator_fields(recipe: TrialRecipe, *, factory: str | None) -> dict[str, Any]:
    return {
        "estimator": recipe.estimator if recipe.estimator is not None else factory,
        "epochs": recipe.epochs,
        "class_weights": recipe.class_weights,
        "warm_start": recipe.warm_start,
    }


def _package_versions(recipe: TrialRecipe, *, searched: bool) -> Mapping[str, str]:
    """Return the versions of the packages that this job needs and a learner does not."""
    packages = ["optuna"] if searched else []
    if is_batch_expression(recipe.estimator):
        name: str = recipe.estimator if isinstance(recipe.estimator, str) else next(iter(recipe.estimator))
        packages.append(name.split(".")[1])
    return {one: installed_version(one) for one in packages}


def _trial_result(trial: Trial) -> TrialResult:
    state = trial.outcome.state.value
    state_text = f"{state}: {trial.outcome.reason}" if trial.outcome.reason else state
    return TrialResult(
        trial.outcome.number,
        trial.recipe.candidate,
        state_text,
        trial.outcome.value,
        dict(trial.recipe.params),
        trial.outcome.duration_s,
        trial.seed,
    )


def _test_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Return the metrics of candidate, champion and no-change baseline on the test part, by name."""
    sides: Mapping[str, Performance | None] = {
        "candidate": evaluation.candidate,
        "champion": evaluation.champion,
        "no_change": evaluation.baseline,
    }
    metrics_by_side = {
        side: {metric: one.value for metric, one in performance.metrics.items()}
        for side, performance in sides.items()
        if performance is not None
    }
    return {"events": evaluation.coverage.compared, **metrics_by_side}


def _describe_window(window: WindowSpec | None) -> str:
    assert window is not None
    span = f"{window.events:,} events" if window.events is not None else f"{window.days:g} days"
    return f"the newest {span}, duplicates by {window.duplicates}"


def _time_range(data: TrainingData) -> tuple[datetime | None, datetime | None]:
    if not len(data):
        return None, None
    first, last = (datetime.fromtimestamp(int(data.times[row]) / 1000, UTC) for row in (0, -1))
    return first, last


def _describe_split(split: SplitSpec, cv: CvSpec | None, *, left_out: Sequence[int]) -> str:
    text = f"By {split.kind}: {split.train:g}, {split.validation:g} and {split.test:g} of the rows."
    if any(left_out):
        text += f" {left_out[0]:,} fell to the embargo, and {left_out[1]:,} have groups of an earlier part."
    if cv is not None:
        text += f" Candidates are chosen by {cv.folds} folds ({cv.kind}) of train and validation part."
    return text


def _split_part(name: str, data: TrainingData) -> SplitPart:
    classes: Mapping[str, int] = {}
    if data.task is not Task.REGRESSION:
        label_counts = Counter(map(label_text, data.table.get_column("y").to_list()))
        classes = dict(label_counts.most_common(MAX_CLASSES_SHOWN))
    return SplitPart(name, len(data), *_time_range(data), classes)


def _seeds(seed: int, retrain_spec: RetrainSpec, *, searched: bool) -> Mapping[str, int]:
    """Return every seed that the job has used."""
    seeds = {"estimator": seed, "evaluation": seed}
    if retrain_spec.split.kind != "time":
        seeds["split"] = seed if retrain_spec.split.seed is None else retrain_spec.split.seed
    if retrain_spec.cv is not None and retrain_spec.cv.shuffle:
        seeds["cv"] = seed if retrain_spec.cv.seed is None else retrain_spec.cv.seed
    return {**seeds, "search": seed} if searched else seeds
