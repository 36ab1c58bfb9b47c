"""The state that serves a model at a given time."""

from dataclasses import dataclass
from datetime import datetime

from service.domain.registry.registry import CheckpointId, LineageId, ModelName, VersionNumber
from service.domain.stream.position import Position


@dataclass(frozen=True, slots=True)
class ChampionState:
    """A champion's newest checkpoint, without its bytes; `version` is the one with which its lineage was promoted.

    `registered_at` is when the model was registered. A model that was reset has the same name and the same numbers,
    and is another one.
    """

    model: ModelName
    registered_at: datetime
    lineage: LineageId
    version: VersionNumber
    checkpoint: CheckpointId
    sequence: int
    digest: str
    position: Position
