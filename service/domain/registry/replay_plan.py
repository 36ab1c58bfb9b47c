"""Replays: lineages that learn a model's history again without some parts of it, and their stored plans."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from service.domain.registry.registry import ChangeOrigin, Json, Lease, LineageId, ModelName, SealedState, VersionNumber
from service.domain.stream.exclusion import Exclusion
from service.domain.stream.pending import PendingRow
from service.domain.stream.position import OffsetRange


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """The plan of a replaying lineage, stored with it for good.

    The replay begins with the state `ancestor` of lineage `source`, which had learned `learned`, and then learns what
    the champion `follow` learned, without the listed exclusions, exclusions added later, and `gaps`, which no
    archive or log holds any more.
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
        """Return plain JSON values."""
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
        """Read what `to_json` has written."""
        return cls(**{**data, **{key: [OffsetRange(*run) for run in data[key]] for key in ("learned", "gaps")}})


@dataclass(frozen=True, slots=True)
class NewReplayLineage:
    """A replaying lineage to create, together with its exclusions."""

    model: ModelName
    plan: ReplayPlan
    version: VersionNumber
    state: SealedState
    exclusions: Sequence[Exclusion]
    origin: ChangeOrigin
    waiting: Sequence[PendingRow] = ()


@dataclass(frozen=True, slots=True)
class ReplayPromotion:
    """Promote a replaying lineage over the champion of the lease; a compare-and-set on both lineages."""

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
