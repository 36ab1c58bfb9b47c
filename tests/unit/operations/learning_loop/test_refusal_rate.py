"""The refusal-rate breaker: how much may be refused in which role."""

from collections import Counter

import pytest

from service.domain.registry.registry import LineageRole
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Refusal, RefusalReason
from service.learning.learner.outcomes import LearningOutcome
from service.operations.learning_loop.refusals import REFUSAL_SAMPLE_RECORDS, RefusalRateBreaker

SPEC = ModelSpec.model_validate(
    {
        "name": "phishing",
        "task": "binary",
        "events": "events",
        "estimator": ["linear_model.LogisticRegression"],
        "guard": {"max_refused_share": 0.4},
    }
)
BATCH = 50


def outcome(refused: int, reason: RefusalReason) -> LearningOutcome:
    """Return the outcome of a batch with this many refusals."""
    refusals = [Refusal(offset, reason, f"found {offset}", b"") for offset in range(refused)]
    return LearningOutcome(Counter(learned=BATCH - refused, dead=refused), refusals, [])


def verdict(role: LineageRole, refused: int, reason: RefusalReason) -> str | None:
    """Return the breaker's reason after as many batches as it takes to decide."""
    share = RefusalRateBreaker(SPEC, role)
    found = [share.trip_reason(outcome(refused, reason)) for _ in range(REFUSAL_SAMPLE_RECORDS // BATCH)]
    assert found[:-1] == [None] * (len(found) - 1)
    return found[-1]


@pytest.mark.parametrize(
    ("role", "refused", "reason", "expected"),
    [
        (LineageRole.CHAMPION, 20, RefusalReason.NOT_JSON, None),
        (
            LineageRole.CHAMPION,
            21,
            RefusalReason.NOT_JSON,
            "42% of the last events were refused, more than max_refused_share 40%",
        ),
        (LineageRole.CHAMPION, 21, RefusalReason.ESTIMATOR_FAILED, "headrace model unfreeze phishing"),
        (LineageRole.CHALLENGER, 50, RefusalReason.NOT_JSON, None),
        (LineageRole.CHALLENGER, 50, RefusalReason.OUT_OF_RANGE, None),
        (LineageRole.CHALLENGER, 20, RefusalReason.ESTIMATOR_FAILED, None),
        (
            LineageRole.CHALLENGER,
            21,
            RefusalReason.ESTIMATOR_FAILED,
            "found 42% of the last events refused by its estimator",
        ),
        (LineageRole.CHALLENGER, 21, RefusalReason.NON_FINITE_PREDICTION, "at last: found 20"),
        (LineageRole.REPLAYING, 50, RefusalReason.ESTIMATOR_FAILED, None),
    ],
)
def test_too_much(role: LineageRole, refused: int, reason: RefusalReason, expected: str | None) -> None:
    """Every refusal trips a champion's breaker, only the estimator's own a challenger's, and none a replay's."""
    found = verdict(role, refused, reason)
    assert (found is None) == (expected is None)
    assert (expected or "") in (found or "")


def test_what_is_long_past_does_not_count() -> None:
    """The breaker judges each thousand records by itself."""
    share = RefusalRateBreaker(SPEC, LineageRole.CHALLENGER)
    for _ in range(3):
        for _ in range(REFUSAL_SAMPLE_RECORDS // BATCH):
            assert share.trip_reason(outcome(20, RefusalReason.ESTIMATOR_FAILED)) is None
    found = [
        share.trip_reason(outcome(50, RefusalReason.ESTIMATOR_FAILED)) for _ in range(REFUSAL_SAMPLE_RECORDS // BATCH)
    ]
    assert "found 100%" in (found[-1] or "")
