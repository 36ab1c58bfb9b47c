"""When a challenger takes over: what a user may say about it, and what a comparison has found."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from service.domain.specification.units import FrozenSpec
from service.domain.stream.events import Task

MIN_BLOCKS = 20
"""Fewer blocks than this cannot prove anything at the usual levels."""


class Loss(StrEnum):
    """What a wrong prediction costs."""

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
"""What the score journal of a task suffices for, the default first: of many classes it keeps labels only."""

UNBOUNDED_LOSSES = frozenset({Loss.LOG, Loss.ABSOLUTE, Loss.SQUARED})
"""Losses without a bound of their own."""


def _require_blocks(name: str, events: int, *, block: int) -> None:
    if events < MIN_BLOCKS * block:
        msg = (
            f"found {name} {events} and block {block}, expected at least {MIN_BLOCKS} blocks, "
            f"{MIN_BLOCKS * block} events; a smaller shadow.block needs fewer"
        )
        raise ValueError(msg)


class ShadowSpec(FrozenSpec):
    """How many events a challenger is compared on; `block` is how many in a row count as one observation."""

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
    """How many events the champion before may use to prove that it was better."""

    events: int = Field(default=5000, gt=0)


class PromoteSpec(FrozenSpec):
    """When a challenger takes over, and by which loss it is judged."""

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
        """The loss by which a task's models are judged."""
        return self.loss or LOSSES_BY_TASK[task][0]

    def require_fitting(self, task: Task) -> Self:
        """This; ValueError where the loss does not fit the task."""
        if self.loss_of(task) not in LOSSES_BY_TASK[task]:
            msg = f"found loss {self.loss} for a {task} task, expected {' or '.join(LOSSES_BY_TASK[task])}"
            raise ValueError(msg)
        return self

    def error_level(self, ordinal: int) -> float:
        """The error that the challenger may make which is the `ordinal`-th (1, 2, ...) to meet its champion.

        The levels of all that a champion ever meets add up to 1 - confidence, however many they are.
        """
        return (1 - self.confidence) / (ordinal * (ordinal + 1))


class ComparisonVerdict(StrEnum):
    """What follows from a comparison."""

    PROMOTE = "promote"
    REJECT = "reject"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class ComparisonEvidence:
    """What a comparison has found after `events` events that both predicted when they arrived.

    `difference` is the champion's mean loss less the challenger's: above zero the challenger is better.
    `lower` and `upper` bound it at all times together, but for a chance of `level`. Losses are None until
    the first events have set the scale.
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
        """Plain values."""
        return {**asdict(self), "verdict": self.verdict.value, "loss": self.loss.value}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**{**data, "verdict": ComparisonVerdict(data["verdict"]), "loss": Loss(data["loss"])})
