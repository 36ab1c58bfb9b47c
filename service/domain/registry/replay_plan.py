"""A lineage that learns a model's history again: what it was told to do, and how that is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from service.domain.registry.registry import ChangeOrigin, Json, Lease, LineageId, ModelName, SealedState, VersionNumber
from service.domain.stream.exclusion import Exclusion
from service.domain.stream.pending import PendingRow
from service.domain.stream.position import OffsetRange


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What a replaying lineage follows; it is kept for good with its lineage.

    It began with the state `ancestor` of lineage `source`, which had learned `learned`, and follows what
    the champion `follow` learned, without the exclusions of these numbers and those that come to be, and
    without `gaps`, which nothing holds any more.
    """

    follow: LineageId
    source: LineageId
    ancestor: str
    learned: Sequence[OffsetRange]
    spec: Json
    exclusions: Sequence[int] = ()
    gaps: Sequence[OffsetRange] = ()
    freeze: bool = False
    actor: str = ""
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "follow": self.follow,
            "source": self.source,
            "ancestor": self.ancestor,
            "learned": _as_lists(self.learned),
            "spec": dict(self.spec),
            "exclusions": list(self.exclusions),
            "gaps": _as_lists(self.gaps),
            "freeze": self.freeze,
            "actor": self.actor,
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**{**data, **{key: [OffsetRange(*run) for run in data[key]] for key in ("learned", "gaps")}})


@dataclass(frozen=True, slots=True)
class NewReplayLineage:
    """A replaying lineage to be made, with the exclusions that it is made for."""

    model: ModelName
    plan: ReplayPlan
    version: VersionNumber
    state: SealedState
    exclusions: Sequence[Exclusion]
    origin: ChangeOrigin
    waiting: Sequence[PendingRow] = ()


@dataclass(frozen=True, slots=True)
class ReplayPromotion:
    """A replaying lineage takes over from the champion of the lease; compare-and-set on both."""

    lease: Lease
    model: ModelName
    lineage: LineageId
    environment: Json
    origin: ChangeOrigin
    evidence: Json
    outcome: str = "takes over"
    lease_ttl_s: float = 10.0


def _as_lists(runs: Sequence[OffsetRange]) -> list[list[Any]]:
    return [[run.topic, run.partition, run.first, run.last] for run in runs]
