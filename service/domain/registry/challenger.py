"""Lineages that learn and are scored beside the champion, and how one comes to take its place."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from service.domain.registry.registry import ChangeOrigin, Json, Lease, LineageId, ModelName, VersionNumber
from service.domain.stream.position import Position


class ChallengerStage(StrEnum):
    """How far a challenger is, or how it ended."""

    CATCHING_UP = "catching_up"
    SHADOW = "shadow"
    RECOMMENDED = "recommended"
    PROBATION = "probation"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    DROPPED = "dropped"
    RETIRED = "retired"


OPEN_STAGES = frozenset(
    {ChallengerStage.CATCHING_UP, ChallengerStage.SHADOW, ChallengerStage.RECOMMENDED, ChallengerStage.PROBATION}
)
"""Those that learn."""


class ChallengerFailure(StrEnum):
    """Why a challenger's process ends: it may go better another time, it would not, or not with this release."""

    CRASH = "crash"
    UNFIT = "unfit"
    OTHER_RELEASE = "other_release"


@dataclass(frozen=True, slots=True)
class ComparisonStart:
    """From where challenger and champion are compared: the champion then, its position, and the last commit of both."""

    champion: LineageId
    position: Position
    champion_sequence: int
    sequence: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "champion": self.champion,
            "position": self.position.to_json(),
            "champion_sequence": self.champion_sequence,
            "sequence": self.sequence,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**{**data, "position": Position.from_json(data["position"])})


@dataclass(frozen=True, slots=True)
class Challenger:
    """A lineage beside the champion; `version` is what it began with.

    `behind` is how many offsets it was behind the champion when that was last a progress, at `behind_since`;
    `failures` is how often in a row its process has died without a commit in between.
    """

    lineage: LineageId
    model: ModelName
    stage: ChallengerStage
    version: VersionNumber
    reason: str
    created_at: datetime
    updated_at: datetime
    live: ComparisonStart | None = None
    behind: int | None = None
    behind_since: datetime | None = None
    failures: int = 0
    evidence: Json = field(default_factory=dict)
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ChallengerUpdate:
    """What changes of a challenger that goes on; None leaves it as it is."""

    stage: ChallengerStage | None = None
    live: ComparisonStart | None = None
    behind: int | None = None
    evidence: Json | None = None
    failures: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ChallengerPromotion:
    """A challenger takes over from the champion of the lease; compare-and-set on both.

    `probation` is whether the old champion stays as its challenger.
    """

    lease: Lease
    model: ModelName
    lineage: LineageId
    origin: ChangeOrigin
    evidence: Json
    probation: bool
    lease_ttl_s: float = 10.0
