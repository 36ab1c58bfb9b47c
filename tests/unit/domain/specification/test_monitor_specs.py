"""Specifications of monitors, and their states."""

from typing import Any

import pytest
from pydantic import ValidationError

from service.domain.specification.monitor import MonitorLimits, MonitorSpec, MonitorState

QUIET, WARNING, DRIFT = MonitorState.QUIET, MonitorState.WARNING, MonitorState.DRIFT


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"on": "error", "detector": "drift.ADWIN"},
        {"detector": {"drift.PageHinkley": {"threshold": 50}}},
        {"on": "feature:age", "metric": "psi", "threshold": 0.25},
        {"on": "feature:a:b", "metric": "ks", "threshold": 0.1, "reference": {"events": 500}, "window": 200},
        {"on": "label", "metric": "mean_shift", "threshold": 3, "warning": 2},
        {"on": "metric:Accuracy", "window": 1000, "below": 0.8},
        {"on": "metric:RMSE", "above": 2, "warning": 1.5},
    ],
)
def test_good_monitors(given: dict[str, Any]) -> None:
    """The documented monitors are valid, and survive being stored."""
    spec = MonitorSpec(name="one", **given)
    assert MonitorSpec.model_validate(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"on": "errors"}, "found on: errors, expected error, prediction"),
        ({"on": "feature:"}, "feature:NAME"),
        ({"on": "label:x"}, "found on: label:x"),
        ({"on": "metric:F1"}, "found none, expected above or below"),
        ({"on": "metric:F1", "above": 0.1, "below": 0.2}, "found above and below"),
        ({"on": "metric:F1", "below": 0.2, "detector": "drift.ADWIN"}, "found below and detector"),
        ({"on": "error", "below": 0.2}, "above and below only beside on: metric:NAME"),
        ({"on": "feature:age", "metric": "psi"}, "expected a threshold"),
        ({"on": "feature:age", "threshold": 1}, "found threshold, expected a metric"),
        ({"metric": "psi", "threshold": 1, "detector": "drift.ADWIN"}, "no detector beside metric: psi"),
        ({"on": "feature:age", "metric": "ks", "threshold": 1}, "expected less than 1"),
        ({"metric": "new_category_share", "threshold": 0.1}, "on: error"),
        ({"metric": "psi", "threshold": 0.2, "warning": 0.3}, "found warning: 0.3, expected it at or below 0.2"),
        ({"on": "metric:F1", "below": 0.5, "warning": 0.4}, "expected it at or above 0.5"),
        ({"detector": "drift.ADWIN", "warning": 0.4}, "found a warning"),
        ({"metric": "psi", "threshold": -1}, "greater than 0"),
        ({"metric": "chi2", "threshold": 1}, "'psi', 'ks'"),
        ({"metric": "psi", "threshold": 1, "reference": {"events": 10}}, "greater than or equal to 100"),
        ({"window": 5}, "greater than or equal to 20"),
    ],
)
def test_bad_monitors(given: dict[str, Any], message: str) -> None:
    """Each mistake is refused with what was found and what was expected."""
    with pytest.raises(ValidationError, match=message):
        MonitorSpec(name="one", **given)


@pytest.mark.parametrize(
    ("limits", "values", "states"),
    [
        (
            MonitorLimits(1.0, 0.5),
            [0.4, 0.6, 1.0, 1.1, 0.6, 0.5, 0.6],
            [QUIET, WARNING, WARNING, DRIFT, DRIFT, QUIET, WARNING],
        ),
        (
            MonitorLimits(0.8, 0.84, lower_is_worse=True),
            [0.9, 0.83, 0.79, 0.81, 0.84],
            [QUIET, WARNING, DRIFT, DRIFT, QUIET],
        ),
    ],
)
def test_a_drift_lasts_until_the_value_is_quiet(
    limits: MonitorLimits, values: list[float], states: list[MonitorState]
) -> None:
    """A value between warning and threshold is a warning on the way up, and still the same drift on the way down."""
    state = QUIET
    found = [state := limits.next_state(state, value) for value in values]
    assert found == states


def test_warnings_have_defaults() -> None:
    """The default warning is two thirds of a threshold, or a fiftieth of a metric's limit before it."""
    psi = MonitorSpec(name="age", on="feature:age", metric="psi", threshold=0.3)
    low = MonitorSpec(name="quality", on="metric:Accuracy", below=0.8)
    assert psi.limits == MonitorLimits(0.3, pytest.approx(0.2))
    assert low.limits == MonitorLimits(0.8, pytest.approx(0.816), lower_is_worse=True)
