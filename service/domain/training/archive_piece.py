"""What a retraining reads of the archive, and what became of it."""

from dataclasses import asdict, dataclass
from typing import NamedTuple

from service.domain.stream.events import TopicPartition


class ArchivePiece(NamedTuple):
    """Offsets `first` up to but not including `last` of one archived file, or the `whole` of it; its rows and times.

    Event times are in epoch milliseconds; None where the file does not tell.
    """

    at: TopicPartition
    file: int
    first: int
    last: int
    whole: bool
    rows: int
    oldest_ms: int | None
    newest_ms: int | None


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Events of a window by what became of them: `read` is all of them, `kept` what is trained on.

    `repeated_labels` are labels beside the first of an id, `contradicting_labels` those of them that say otherwise;
    `same_id` and `same_content` are duplicates, removed before any split.
    """

    read: int = 0
    excluded: int = 0
    undecodable: int = 0
    same_id: int = 0
    late_labels: int = 0
    missing_labels: int = 0
    guarded: int = 0
    same_content: int = 0
    kept: int = 0
    repeated_labels: int = 0
    contradicting_labels: int = 0

    def to_json(self) -> dict[str, int]:
        """All of it."""
        return asdict(self)
