"""Check that a log holds a position."""

from collections.abc import Mapping

from service.domain.stream.events import TopicPartition
from service.domain.stream.position import OffsetBounds, Position
from service.errors import BelowStartError, PastEndError


def require_within_bounds(position: Position, bounds: Mapping[TopicPartition, OffsetBounds]) -> None:
    """Raise BelowStartError or PastEndError for the first partition that cannot be read from its offset."""
    for at, offset in sorted(position.offsets.items()):
        _require_offset_within(at, offset, bounds=bounds.get(at))


def _require_offset_within(at: TopicPartition, offset: int, *, bounds: OffsetBounds | None) -> None:
    name = f"{at.topic}[{at.partition}]"
    if bounds is None:
        msg = (
            f"{name}: found a stored position at offset {offset}, but the topic has no such partition; "
            f"it was made anew with fewer. Compare with `headrace doctor`, or start over with --fresh"
        )
        raise PastEndError(msg)
    if offset < bounds.start:
        msg = (
            f"{name}: found the position at offset {offset}, expected {bounds.start} or later: retention has "
            f"deleted {bounds.start - offset} offsets that were not read. `headrace learn --accept-gap` goes on "
            f"without them"
        )
        raise BelowStartError(msg)
    if offset > bounds.end:
        msg = (
            f"{name}: found the position at offset {offset}, expected {bounds.end} or earlier, where the log "
            f"ends: it was truncated, or is another log. Check the stream's address with `headrace doctor`"
        )
        raise PastEndError(msg)
