"""Specifications of promotion, and the evidence of comparisons."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from service.domain.specification.model import ModelSpec
from service.domain.specification.promotion import (
    LOSSES_BY_TASK,
    ComparisonEvidence,
    ComparisonVerdict,
    Loss,
    PromoteSpec,
)
from service.domain.stream.events import Task


def model(task: Task, promote: dict[str, Any]) -> ModelSpec:
    """Return a model specification with this section."""
    return ModelSpec.model_validate({"name": "shown", "task": task, "events": "shown", "promote": promote})


@pytest.mark.parametrize("task", Task)
@pytest.mark.parametrize("loss", Loss)
def test_a_loss_fits_its_tasks(task: Task, loss: Loss) -> None:
    """Brier and log loss need a binary task, zero-one needs classes, the others a regression."""
    if loss in LOSSES_BY_TASK[task]:
        assert model(task, {"loss": loss}).promote.loss_of(task) is loss
        return
    with pytest.raises(
        ValidationError, match=f"found loss {loss} for a {task} task, expected {LOSSES_BY_TASK[task][0]}"
    ):
        model(task, {"loss": loss})


@pytest.mark.parametrize(
    ("task", "loss"),
    [(Task.BINARY, Loss.BRIER), (Task.MULTICLASS, Loss.ZERO_ONE), (Task.REGRESSION, Loss.ABSOLUTE)],
)
def test_the_loss_that_is_left_out_follows_from_the_task(task: Task, loss: Loss) -> None:
    """Without a promotion section, each task has a loss that its score journal can compute."""
    assert model(task, {}).promote.loss_of(task) is loss


@pytest.mark.parametrize(
    ("section", "found"),
    [
        ({"mode": "always"}, "auto"),
        ({"confidence": 1.0}, "less than 1"),
        ({"confidence": 0.05}, "greater than or equal to 0.5"),
        ({"shadow": {"min_events": 6000, "max_events": 5000}}, "min_events 6000 above max_events 5000"),
        ({"shadow": {"max_events": 2000}}, "at least 20 blocks, 2560 events"),
        ({"shadow": {"block": 300}}, "probation.events 5000 and block 300"),
        ({"loss": "brier", "clip": 1.0}, "expected clip only with absolute, log, squared"),
        ({"clip": 1.0}, "expected clip only with"),
        ({"shadow": {"events": 1}}, "Extra inputs"),
    ],
)
def test_what_does_not_fit_together_is_refused(section: dict[str, Any], found: str) -> None:
    """An inconsistent section is refused, with what was found and what was expected."""
    with pytest.raises(ValidationError, match=found):
        model(Task.BINARY, section)


def test_a_champion_spends_its_level_once() -> None:
    """The error levels of thousands of challengers add up to less than the allowed error, and each is positive."""
    levels = [PromoteSpec(confidence=0.95).error_level(ordinal) for ordinal in range(1, 10_000)]
    assert 0.0499 < sum(levels) < 0.05
    assert levels == sorted(levels, reverse=True)
    assert levels[0] == pytest.approx(0.025)
    assert levels[9] > 0.0004


@pytest.mark.parametrize("numbers", [{}, {"champion_loss": 0.2, "challenger_loss": 0.1, "lower": -0.1, "upper": 0.3}])
def test_evidence_comes_back_from_json(numbers: dict[str, float]) -> None:
    """Evidence survives JSON, whether or not there were losses yet."""
    evidence = ComparisonEvidence(ComparisonVerdict.WAIT, "not decided", Loss.BRIER, 12, 0.025, **numbers)
    assert ComparisonEvidence.from_json(json.loads(json.dumps(evidence.to_json()))) == evidence
