"""The candidates that a retraining may try in place of the champion, as the file describes them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeAlias

from pydantic import Field, field_validator, model_validator

from service.domain.specification import search_spaces
from service.domain.specification.units import FrozenSpec
from service.errors import SpecificationError

ClassWeights: TypeAlias = Literal["balanced", "none"] | Mapping[str, float]
BOOLEAN_LABELS: Mapping[bool, str] = {True: "true", False: "false"}
MAX_EPOCHS = 1000


def label_text(label: Any) -> str:
    """Return a label as it is written as a key of the file: true, 3, spam."""
    return BOOLEAN_LABELS[label] if isinstance(label, bool) else str(label)


class CandidateSpec(FrozenSpec):
    """An estimator, or a search space of them, and how it is trained; any value may be a search space.

    Without `estimator`, the champion's is used.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")
    estimator: str | list[Any] | dict[str, Any] | None = None
    epochs: int | dict[str, Any] = 1
    class_weights: Literal["balanced", "none"] | dict[str, Any] = "none"
    warm_start: bool = False

    @field_validator("epochs", mode="before")
    @classmethod
    def _check_epochs(cls, value: Any) -> Any:
        _require(
            value, "epochs", _is_epoch_count, f"a number of 1 to {MAX_EPOCHS}, or integers such as {{int: [1, 5]}}"
        )
        return value

    @field_validator("class_weights", mode="before")
    @classmethod
    def _check_class_weights(cls, value: Any) -> Any:
        keyed = _with_label_texts(value)
        expected = "none, balanced, or a positive number for each label, like {true: 5}"
        _require(keyed, "class_weights", _are_weights, expected)
        return keyed

    @model_validator(mode="after")
    def _check_warm_start(self) -> Self:
        searched = _space_names(self.estimator, "estimator")
        if self.warm_start and searched:
            msg = (
                f"found warm_start with a space at {searched[0]}, expected an estimator without spaces: only the "
                "champion's own can go on from the champion's state"
            )
            raise ValueError(msg)
        return self

    @property
    def searchable_parts(self) -> dict[str, Any]:
        """Return the values that may hold search spaces, by the names that their paths begin with."""
        return {"estimator": self.estimator, "epochs": self.epochs, "class_weights": self.class_weights}


class SearchBudget(FrozenSpec):
    """Bounds of the search; `share` is the part of the job's time that the search may take."""

    trials: int = Field(default=20, ge=1, le=100_000)
    processes: int = Field(default=2, ge=1, le=256)
    share: float = Field(default=0.7, gt=0, le=1)


@dataclass(frozen=True, slots=True)
class TrialRecipe:
    """A candidate without spaces, which one trial trains. An estimator of None comes from the model's factory."""

    candidate: str
    estimator: Any
    epochs: int = 1
    class_weights: ClassWeights = "none"
    warm_start: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)
    """The value chosen in each space, by the space's name."""


def candidates_or_default(given: Sequence[CandidateSpec]) -> tuple[CandidateSpec, ...]:
    """Return the candidates or, if there are none, one of the champion's own estimator, trained from scratch."""
    return tuple(given) or (CandidateSpec(name="own"),)


def with_champion_estimator(candidate: CandidateSpec, estimator: Any) -> CandidateSpec:
    """Return the candidate with the champion's estimator if it has none of its own."""
    return candidate if candidate.estimator is not None else candidate.model_copy(update={"estimator": estimator})


def build_recipe(candidate: CandidateSpec, pick: search_spaces.PickValue) -> TrialRecipe:
    """Return the recipe that results when `pick` decides every space."""
    found = {
        name: search_spaces.fill_spaces(part, path=name, pick=pick) for name, part in candidate.searchable_parts.items()
    }
    return TrialRecipe(
        candidate.name,
        **{name: value for name, (value, _) in found.items()},
        warm_start=candidate.warm_start,
        params={name: value for _, params in found.values() for name, value in params.items()},
    )


def recipe_count(candidate: CandidateSpec) -> float:
    """Return how many recipes the candidate can produce, possibly infinity."""
    return math.prod(
        search_spaces.expression_count(part, path=name) for name, part in candidate.searchable_parts.items()
    )


def _with_label_texts(value: Any) -> Any:
    """Turn label keys into text, as a specification stored as JSON has them anyway, and null into `none`."""
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return {label_text(key): _with_label_texts(one) for key, one in value.items()}
    return [_with_label_texts(one) for one in value] if isinstance(value, list | tuple) else value


def _is_epoch_count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_EPOCHS


def _are_weights(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(
            isinstance(one, int | float) and not isinstance(one, bool) and 0 < one < math.inf for one in value.values()
        )
    return value in {"none", "balanced"} if isinstance(value, str) else False


def _require(value: Any, path: str, is_valid: Any, expected: str) -> None:
    """Raise ValueError, which pydantic reports at the field, unless every value that may result is valid."""
    try:
        found = search_spaces.covering_expressions(value, path=path)
    except SpecificationError as error:
        raise ValueError(str(error)) from error
    for one in found:
        if not is_valid(one.value):
            msg = f"found {one.value!r:.80}, expected {expected}"
            raise ValueError(msg)


def _space_names(value: Any, path: str) -> list[str]:
    try:
        return [name for name, _ in search_spaces.iter_spaces(value, path=path)]
    except SpecificationError as error:
        raise ValueError(str(error)) from error
