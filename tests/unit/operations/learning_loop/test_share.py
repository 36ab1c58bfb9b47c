"""How much may be refused, and by whom."""

from collections import Counter

import pytest

from service.domain.registry.registry import Role
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Reason, Refusal
from service.learning.learner.outcomes import Outcome
from service.operations.learning_loop.refusals import SHARE_OVER, Share

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


def outcome(refused: int, reason: Reason) -> Outcome:
    """A batch of which so many were refused."""
    refusals = [Refusal(offset, reason, f"found {offset}", b"") for offset in range(refused)]
    return Outcome(Counter(learned=BATCH - refused, dead=refused), refusals, [])


def verdict(role: Role, refused: int, reason: Reason) -> str | None:
    """After as many batches as it takes to judge."""
    share = Share(SPEC, role)
    found = [share.too_much(outcome(refused, reason)) for _ in range(SHARE_OVER // BATCH)]
    assert found[:-1] == [None] * (len(found) - 1)
    return found[-1]


@pytest.mark.parametrize(
    ("role", "refused", "reason", "expected"),
    [
        (Role.CHAMPION, 20, Reason.NOT_JSON, None),
        (Role.CHAMPION, 21, Reason.NOT_JSON, "42% of the last events were refused, more than max_refused_share 40%"),
        (Role.CHAMPION, 21, Reason.ESTIMATOR_FAILED, "headrace model unfreeze phishing"),
        (Role.CHALLENGER, 50, Reason.NOT_JSON, None),
        (Role.CHALLENGER, 50, Reason.OUT_OF_RANGE, None),
        (Role.CHALLENGER, 20, Reason.ESTIMATOR_FAILED, None),
        (Role.CHALLENGER, 21, Reason.ESTIMATOR_FAILED, "found 42% of the last events refused by its estimator"),
        (Role.CHALLENGER, 21, Reason.NON_FINITE_PREDICTION, "at last: found 20"),
        (Role.REPLAYING, 50, Reason.ESTIMATOR_FAILED, None),
    ],
)
def test_too_much(role: Role, refused: int, reason: Reason, expected: str | None) -> None:
    """A champion answers for what the stream sends too, a challenger for its estimator, a replay for nothing."""
    found = verdict(role, refused, reason)
    assert (found is None) == (expected is None)
    assert (expected or "") in (found or "")


def test_what_is_long_past_does_not_count() -> None:
    """Each thousand is judged by itself."""
    share = Share(SPEC, Role.CHALLENGER)
    for _ in range(3):
        for _ in range(SHARE_OVER // BATCH):
            assert share.too_much(outcome(20, Reason.ESTIMATOR_FAILED)) is None
    found = [share.too_much(outcome(50, Reason.ESTIMATOR_FAILED)) for _ in range(SHARE_OVER // BATCH)]
    assert "found 100%" in (found[-1] or "")
