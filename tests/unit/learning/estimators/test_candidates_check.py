"""`headrace check` finds errors of candidates without training them."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.domain.specification.candidates import CandidateSpec, SearchBudget
from service.domain.specification.search_spaces import SPACE_KINDS
from service.domain.stream.events import Task
from service.errors import SpecificationError
from service.learning.estimators.candidates import ModelContext, complete_candidates, require_candidates

SCALER = "preprocessing.StandardScaler"
MODEL = "linear_model.LogisticRegression"
OWN = ModelContext(Task.BINARY, 42, estimator=[SCALER, MODEL])
GOOD: list[Any] = [
    {"choice": [SCALER, "preprocessing.MinMaxScaler"]},
    {
        MODEL: {
            "optimizer": {
                "choice": [{"optim.SGD": {"lr": {"log_uniform": [1e-4, 0.1]}}}, {"optim.Adam": {}}, "optim.AdaGrad"]
            },
            "loss": {"choice": ["optim.losses.Log", "optim.losses.Hinge"]},
            "l2": {"uniform": [0, 0.1]},
        }
    },
]


def candidate(**changes: Any) -> CandidateSpec:
    """Return a candidate."""
    return CandidateSpec(**{"name": "c", **changes})


def require(*candidates: CandidateSpec, ground: ModelContext = OWN, trials: int = 20) -> None:
    """Check the candidates."""
    require_candidates(candidates, ground, trials=trials)


def test_good_candidates_pass() -> None:
    """Spaces in steps, optimizers, losses and numbers, weights, a warm start, and a choice of estimators pass."""
    require(
        candidate(name="a", estimator=GOOD, class_weights={"choice": ["none", "balanced"]}),
        candidate(name="b", warm_start=True, epochs={"int": [1, 3]}),
        candidate(
            name="d", estimator={"choice": [GOOD, {"tree.HoeffdingTreeClassifier": {"max_depth": {"int": [3, 12]}}}]}
        ),
    )


def with_optimizer(*options: Any) -> list[Any]:
    """Return an estimator with a choice of optimizers."""
    return [SCALER, {MODEL: {"optimizer": {"choice": list(options)}}}]


PLACE = r"candidates\[0\].estimator\[1\].linear_model.LogisticRegression"
REFUSED: dict[str, tuple[CandidateSpec, ModelContext, str]] = {
    "a slip in the second option": (
        candidate(estimator=with_optimizer("optim.SGD", {"optim.SDG": {"lr": 1}})),
        OWN,
        PLACE + r".optimizer.choice\[1\].optim.SDG: .*did you mean optim.SGD",
    ),
    "an unknown parameter within an option": (
        candidate(estimator=with_optimizer({"optim.SGD": {"rate": {"uniform": [0, 1]}}})),
        OWN,
        PLACE + r".optimizer.choice\[0\].optim.SGD.rate: found no such parameter",
    ),
    "a number where an object is due": (
        candidate(estimator=[SCALER, {MODEL: {"optimizer": {"uniform": [0, 1]}}}]),
        OWN,
        PLACE + ".optimizer: found 0.0, expected",
    ),
    "an option of another task": (
        candidate(estimator={"choice": [GOOD, "linear_model.LinearRegression"]}),
        OWN,
        r"candidates\[0\].estimator.choice\[1\]: found .*expected a classifier",
    ),
    "weights for an estimator without": (
        candidate(estimator="neighbors.KNNClassifier", class_weights="balanced"),
        ModelContext(Task.BINARY, 42),
        "neighbors.LazySearch",
    ),
    "weights that are not heeded": (
        candidate(estimator={"neighbors.KNNClassifier": {"engine": "neighbors.LazySearch"}}, class_weights="balanced"),
        OWN,
        r"candidates\[0\].class_weights: found them with KNNClassifier, which learns no weights",
    ),
    "weights for a regression": (
        candidate(class_weights="balanced"),
        ModelContext(Task.REGRESSION, 42, estimator="linear_model.LinearRegression"),
        "for a regression, expected none",
    ),
    "a label of another task": (
        candidate(class_weights={"spam": 2}),
        OWN,
        "found label 'spam', expected true and false",
    ),
    "micro-batches": (
        candidate(estimator="tree.HoeffdingTreeClassifier"),
        ModelContext(Task.BINARY, 42, batch_size=64),
        "cannot learn a batch",
    ),
    "nothing at all": (candidate(), ModelContext(Task.BINARY, 42), "the model has none either"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_candidates_are_refused_before_training(name: str) -> None:
    """An error names the place in the file, through the option of a choice; its text is the estimator's own error."""
    given, ground, message = REFUSED[name]
    with pytest.raises(SpecificationError, match=message):
        require(given, ground=ground)


def test_names_differ_and_each_candidate_has_a_trial() -> None:
    """Two candidates of one name, or more candidates than trials, are refused."""
    with pytest.raises(SpecificationError, match="found two candidates named c"):
        require(candidate(), candidate())
    with pytest.raises(SpecificationError, match="found 2 candidates and 1 trials"):
        require(candidate(), candidate(name="d"), trials=1)


def test_a_candidate_without_an_estimator_has_the_champions() -> None:
    """A candidate without an estimator gets the champion's expression, or the factory's estimator."""
    assert complete_candidates([], OWN)[0].estimator == OWN.estimator
    made = ModelContext(Task.BINARY, 42, estimator=MODEL, factory="river.dummy:NoChangeClassifier")
    assert complete_candidates([], made)[0].estimator is None
    require(*complete_candidates([], made), ground=made)


def test_the_example_on_the_page_of_the_search_is_good() -> None:
    """The example of docs/search.md passes the checks."""
    page = (Path(__file__).parents[4] / "docs" / "search.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```\n(retrain:.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shown = yaml.safe_load(text)["retrain"]
    require(*(CandidateSpec(**one) for one in shown["candidates"]), trials=SearchBudget(**shown["budget"]).trials)


def test_every_space_is_on_the_page_of_the_search() -> None:
    """Each kind of space has a row in the table of docs/search.md."""
    page = (Path(__file__).parents[4] / "docs" / "search.md").read_text(encoding="utf-8")
    rows = "\n".join(line for line in page.splitlines() if line.startswith("| `{"))
    assert all(f"{{{kind}: [" in rows for kind in SPACE_KINDS)
