"""Challengers: lineages that learn and are scored beside the champion, and how one is promoted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from service.domain.registry.registry import ChangeOrigin, Json, Lease, LineageId, ModelName, VersionNumber
from service.domain.stream.position import Position


class ChallengerStage(StrEnum):
    """A challenger's stage, open or final."""

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
"""The stages in which a challenger learns."""


class ChallengerFailure(StrEnum):
    """Why a challenger's process ended: a retry may help, the challenger is unfit, or another release must run it."""

    CRASH = "crash"
    UNFIT = "unfit"
    OTHER_RELEASE = "other_release"


@dataclass(frozen=True, slots=True)
class ComparisonStart:
    """Where the comparison began: the champion, its position, and the last commit of both lineages."""

    champion: LineageId
    position: Position
    champion_sequence: int
    sequence: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "champion": self.champion,
            "position": self.position.to_json(),
            "champion_sequence": self.champion_sequence,
            "sequence": self.sequence,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` has written."""
        return cls(**{**data, "position": Position.from_json(data["position"])})


@dataclass(frozen=True, slots=True)
class Challenger:
    """A challenger lineage; `version` is the one it began from.

    `behind` is how many offsets it was behind the champion when it last came nearer, at `behind_since`;
    `failures` counts consecutive deaths of its process without a commit in between.
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
    """Changes of an open challenger; None leaves a field as it is."""

    stage: ChallengerStage | None = None
    live: ComparisonStart | None = None
    behind: int | None = None
    evidence: Json | None = None
    failures: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ChallengerPromotion:
    """Promote a challenger over the champion of the lease; a compare-and-set on both lineages.

    With `probation` the former champion stays as a challenger.
    """

    lease: Lease
    model: ModelName
    lineage: LineageId
    origin: ChangeOrigin
    evidence: Json
    probation: bool
    lease_ttl_s: float = 10.0
