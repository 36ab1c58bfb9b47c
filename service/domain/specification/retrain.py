"""When a model is retrained, on which data, and within which budget."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from service.domain.specification import cron
from service.domain.specification.candidates import CandidateSpec, SearchBudget
from service.domain.specification.split import CvSpec, SplitSpec, WindowSpec
from service.domain.specification.units import Duration, FrozenSpec, Size


class BudgetSpec(SearchBudget):
    """What one training job may use; a job that exceeds its time or memory is ended."""

    max_runtime: Duration = 600.0
    memory: Size = 4_000_000_000


class RetrainSpec(FrozenSpec):
    """When a replacement is trained, on which data, and within which budget.

    Without a window, the champion's estimator is trained on all that the champion has learned.
    """

    check: Duration = 30.0
    when: Literal["any", "all"] = "any"
    cron: str | None = None
    cooldown: Duration = 3600.0
    min_new_events: int = Field(default=1000, ge=0)
    retries: int = Field(default=2, ge=0, le=100)
    window: WindowSpec | None = None
    split: SplitSpec = SplitSpec()
    cv: CvSpec | None = None
    candidates: tuple[CandidateSpec, ...] = ()
    budget: BudgetSpec = BudgetSpec()

    @field_validator("cron")
    @classmethod
    def _check_cron(cls, value: str | None) -> str | None:
        if value is not None:
            cron.parse_cron(value)
        return value

    @model_validator(mode="after")
    def _require_window(self) -> Self:
        divided = {"split": self.split != SplitSpec(), "cv": self.cv, "candidates": self.candidates}
        needing = next((name for name, given in divided.items() if given), None)
        if self.window is None and needing is not None:
            msg = f"found {needing} and no window, expected one beside it, like `window: {{events: 100000}}`"
            raise ValueError(msg)
        return self
