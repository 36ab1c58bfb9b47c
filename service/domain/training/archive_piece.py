"""Parts of the archive that a retraining reads, and counts of their rows."""

from dataclasses import asdict, dataclass
from typing import NamedTuple

from service.domain.stream.events import TopicPartition


class ArchivePiece(NamedTuple):
    """Offsets `first` up to but not including `last` of one archived file (all of it if `whole`), and its rows.

    Event times are in epoch milliseconds; None where the file does not record them.
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
    """How many events of a window were removed at each step: `read` counts all, `kept` those trained on.

    `repeated_labels` are labels beside the first of an id, `contradicting_labels` those of them with another value;
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
        """Return all counts by name."""
        return asdict(self)
