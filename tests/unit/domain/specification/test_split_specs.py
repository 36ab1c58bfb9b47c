"""Specifications of windows, splits and folds."""

from typing import Any

import pytest
from pydantic import ValidationError

from service.domain.specification.split import CvSpec, SplitSpec, WindowSpec, split_problem
from service.domain.stream.events import Task


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (WindowSpec, {}, "found neither events nor days"),
        (WindowSpec, {"events": 10, "days": 1}, "found both events and days"),
        (WindowSpec, {"events": 0}, "greater than 0"),
        (WindowSpec, {"days": 1, "duplicates": "x"}, "'content' or 'id'"),
        (SplitSpec, {"train": 0.7, "validation": 0.2, "test": 0.2}, "1.1 in all, expected shares that sum to 1"),
        (SplitSpec, {"train": 0.8, "validation": 0.2, "test": 0.0}, "greater than 0"),
        (SplitSpec, {"kind": "random", "embargo": "1h"}, "found an embargo with kind random"),
        (SplitSpec, {"embargo": "1h", "embargo_events": 5}, "expected one of them"),
        (SplitSpec, {"embargo": "soon"}, "found 'soon', expected a number with one of ms, s, m, h, d"),
        (SplitSpec, {"embargo": -1}, "greater than or equal to 0"),
        (SplitSpec, {"kind": "groups"}, "'time', 'random' or 'stratified'"),
        (CvSpec, {"folds": 1}, "greater than or equal to 2"),
        (CvSpec, {"gap": 3}, "found gap with kind stratified_kfold"),
        (CvSpec, {"kind": "time_series", "shuffle": True}, "found shuffle with kind time_series"),
        (CvSpec, {"seed": 3}, "found a seed without shuffle"),
        (CvSpec, {"kind": "kfold", "repeats": 3}, "Extra inputs"),
    ],
)
def test_what_does_not_fit_is_refused(kind: Any, given: dict[str, Any], message: str) -> None:
    """Each contradiction is refused with what was found and what was expected."""
    with pytest.raises(ValidationError, match=r"(?s).*") as told:
        kind.model_validate(given)
    assert message in str(told.value)


def test_the_design_s_own_example_is_read() -> None:
    """The documented window, split and folds are read with their values."""
    assert WindowSpec.model_validate({"events": 100000}).duplicates == "content"
    split = SplitSpec.model_validate({"kind": "time", "train": 0.7, "validation": 0.15, "test": 0.15, "embargo": 0})
    assert split == SplitSpec()
    assert SplitSpec.model_validate({"embargo": "1h"}).embargo == 3600
    assert CvSpec.model_validate({"kind": "stratified_kfold", "folds": 5}) == CvSpec()


def test_classes_are_asked_of_a_classification_only() -> None:
    """A regression cannot be stratified, neither in a split nor in folds."""
    assert split_problem(Task.BINARY, split=SplitSpec(kind="stratified"), cv=CvSpec()) is None
    assert split_problem(Task.REGRESSION, split=SplitSpec(), cv=CvSpec(kind="kfold")) is None
    assert "split: found kind stratified" in str(split_problem(Task.REGRESSION, split=SplitSpec(kind="stratified")))
    assert "cv: found kind stratified_group_kfold" in str(
        split_problem(Task.REGRESSION, cv=CvSpec(kind="stratified_group_kfold"))
    )
