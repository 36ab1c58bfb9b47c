"""Candidates as a file describes them."""

from typing import Any

import pytest
from pydantic import ValidationError

from service.domain.specification.candidates import (
    CandidateSpec,
    SearchBudget,
    build_recipe,
    candidates_or_default,
    recipe_count,
)

ESTIMATOR: list[Any] = [
    "preprocessing.StandardScaler",
    {"linear_model.LogisticRegression": {"optimizer": {"choice": [{"optim.SGD": {"lr": {"uniform": [0.1, 1]}}}, "x"]}}},
]

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no epochs": ({"epochs": 0}, "found 0, expected a number of 1 to 1000"),
    "half an epoch": ({"epochs": {"uniform": [1, 2]}}, "expected a number of 1 to 1000"),
    "epochs upside down": ({"epochs": {"int": [5, 1]}}, "the lower one first"),
    "unknown weights": ({"class_weights": "fair"}, "expected none, balanced, or a positive number for each label"),
    "a negative weight": ({"class_weights": {True: -1}}, "expected none, balanced"),
    "unknown weights in a choice": ({"class_weights": {"choice": ["none", "fair"]}}, "found 'fair'"),
    "a wrong space": ({"estimator": {"a.B": {"n": {"int": [2, 1]}}}}, r"estimator.a.B.n: found int of \[2, 1\]"),
    "a searched warm start": ({"estimator": ESTIMATOR, "warm_start": True}, "expected an estimator without spaces"),
    "a strange name": ({"name": "A B"}, "String should match pattern"),
    "an unknown key": ({"epoch": 2}, "Extra inputs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_candidates_are_refused(name: str) -> None:
    """An invalid candidate is refused with what was found and expected."""
    changes, message = REFUSED[name]
    with pytest.raises(ValidationError, match=message):
        CandidateSpec(**{"name": "c", **changes})


def test_every_part_may_be_searched() -> None:
    """Epochs and class weights are searched like the estimator's parameters, and reported by name."""
    given = CandidateSpec(
        name="c",
        estimator=ESTIMATOR,
        epochs={"int": [1, 3]},
        class_weights={"choice": [None, {True: {"log_uniform": [1, 9]}}]},
    )
    found = build_recipe(given, lambda name, space: 0 if name.endswith("optimizer") else getattr(space, "high", 1))
    place = "estimator[1].linear_model.LogisticRegression.optimizer"
    assert found.epochs == 3
    assert found.class_weights == {"true": 9.0}
    assert found.params == {
        place: {"optim.SGD": {"lr": 1.0}},
        f"{place}.choice[0].optim.SGD.lr": 1.0,
        "epochs": 3,
        "class_weights": {"true": 9.0},
        "class_weights.choice[1].true": 9.0,
    }


def test_a_candidate_survives_json() -> None:
    """A candidate survives JSON with labels of any type and its spaces."""
    given = CandidateSpec(name="c", estimator=ESTIMATOR, class_weights={True: 2, 3: 1.5}, epochs={"choice": [1, 4]})
    assert CandidateSpec.model_validate_json(given.model_dump_json()) == given


def test_there_is_always_a_candidate() -> None:
    """Without candidates the champion's own estimator is trained from scratch, which is one recipe."""
    (found,) = candidates_or_default([])
    assert (found.estimator, found.warm_start, recipe_count(found)) == (None, False, 1)
    assert SearchBudget().trials == 20
