"""When a challenger is promoted: the user's settings, and the evidence of a comparison."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from service.domain.specification.units import FrozenSpec
from service.domain.stream.events import Task

MIN_BLOCKS = 20
"""Fewer blocks cannot prove anything at the usual confidence levels."""


class Loss(StrEnum):
    """The loss by which predictions are compared."""

    ZERO_ONE = "zero_one"
    BRIER = "brier"
    LOG = "log"
    ABSOLUTE = "absolute"
    SQUARED = "squared"


LOSSES_BY_TASK = {
    Task.BINARY: (Loss.BRIER, Loss.ZERO_ONE, Loss.LOG),
    Task.MULTICLASS: (Loss.ZERO_ONE,),
    Task.REGRESSION: (Loss.ABSOLUTE, Loss.SQUARED),
}
"""Losses that a task's score journal can compute, the default first; for multiclass it keeps labels only."""

UNBOUNDED_LOSSES = frozenset({Loss.LOG, Loss.ABSOLUTE, Loss.SQUARED})
"""Losses without an upper bound."""


def _require_blocks(name: str, events: int, *, block: int) -> None:
    if events < MIN_BLOCKS * block:
        msg = (
            f"found {name} {events} and block {block}, expected at least {MIN_BLOCKS} blocks, "
            f"{MIN_BLOCKS * block} events; a smaller shadow.block needs fewer"
        )
        raise ValueError(msg)


class ShadowSpec(FrozenSpec):
    """How many events a challenger is compared on; `block` consecutive events count as one observation."""

    min_events: int = Field(default=1000, gt=0)
    max_events: int = Field(default=50_000, gt=0)
    block: int = Field(default=128, gt=0)

    @model_validator(mode="after")
    def _check_events(self) -> Self:
        if self.min_events > self.max_events:
            msg = f"found min_events {self.min_events} above max_events {self.max_events}, expected at most that"
            raise ValueError(msg)
        _require_blocks("max_events", self.max_events, block=self.block)
        return self


class ProbationSpec(FrozenSpec):
    """How many events the former champion may use to prove that it was better."""

    events: int = Field(default=5000, gt=0)


class PromoteSpec(FrozenSpec):
    """When a challenger is promoted, and by which loss."""

    mode: Literal["auto", "manual"] = "auto"
    loss: Loss | None = None
    clip: float | None = Field(default=None, gt=0)
    shadow: ShadowSpec = ShadowSpec()
    confidence: float = Field(default=0.95, ge=0.5, lt=1)
    probation: ProbationSpec = ProbationSpec()

    @model_validator(mode="after")
    def _check_clip(self) -> Self:
        if self.clip is not None and self.loss not in UNBOUNDED_LOSSES:
            losses = ", ".join(sorted(UNBOUNDED_LOSSES))
            msg = f"found clip and loss {self.loss or 'by task'}, expected clip only with {losses}"
            raise ValueError(msg)
        _require_blocks("probation.events", self.probation.events, block=self.shadow.block)
        return self

    def loss_of(self, task: Task) -> Loss:
        """Return the loss that compares models of this task."""
        return self.loss or LOSSES_BY_TASK[task][0]

    def require_fitting(self, task: Task) -> Self:
        """Return this specification; raise ValueError if its loss does not fit the task."""
        if self.loss_of(task) not in LOSSES_BY_TASK[task]:
            msg = f"found loss {self.loss} for a {task} task, expected {' or '.join(LOSSES_BY_TASK[task])}"
            raise ValueError(msg)
        return self

    def error_level(self, ordinal: int) -> float:
        """Return the error level of the champion's `ordinal`-th challenger (1, 2, ...).

        The levels (1 - confidence) / (ordinal * (ordinal + 1)) add up to at most 1 - confidence, however many
        challengers a champion meets.
        """
        return (1 - self.confidence) / (ordinal * (ordinal + 1))


class ComparisonVerdict(StrEnum):
    """The verdict of a comparison."""

    PROMOTE = "promote"
    REJECT = "reject"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class ComparisonEvidence:
    """The result of a comparison over `events` events that both models predicted on arrival.

    `difference` is the champion's mean loss minus the challenger's; above zero the challenger is better. `lower` and
    `upper` bound it at all times simultaneously, except with probability `level`. Losses are None until the first
    events have set the scale.
    """

    verdict: ComparisonVerdict
    reason: str
    loss: Loss
    events: int
    level: float
    champion_loss: float | None = None
    challenger_loss: float | None = None
    difference: float | None = None
    lower: float | None = None
    upper: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "verdict": self.verdict.value, "loss": self.loss.value}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `to_json` has written."""
        return cls(**{**data, "verdict": ComparisonVerdict(data["verdict"]), "loss": Loss(data["loss"])})
