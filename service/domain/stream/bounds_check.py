"""Whether a log still, or already, holds a position."""

from collections.abc import Mapping

from service.domain.stream.events import TopicPartition
from service.domain.stream.position import Bounds, Position
from service.errors import BelowStartError, PastEndError


def require_held(position: Position, bounds: Mapping[TopicPartition, Bounds]) -> None:
    """BelowStartError or PastEndError for the first partition that cannot be read from its offset."""
    for at, offset in sorted(position.offsets.items()):
        _require_one(at, offset, held=bounds.get(at))


def _require_one(at: TopicPartition, offset: int, *, held: Bounds | None) -> None:
    name = f"{at.topic}[{at.partition}]"
    if held is None:
        msg = (
            f"{name}: found a stored position at offset {offset}, but the topic has no such partition; "
            f"it was made anew with fewer. Compare with `headrace doctor`, or start over with --fresh"
        )
        raise PastEndError(msg)
    if offset < held.start:
        msg = (
            f"{name}: found the position at offset {offset}, expected {held.start} or later: retention has "
            f"deleted {held.start - offset} offsets that were not read. `headrace learn --accept-gap` goes on "
            f"without them"
        )
        raise BelowStartError(msg)
    if offset > held.end:
        msg = (
            f"{name}: found the position at offset {offset}, expected {held.end} or earlier, where the log "
            f"ends: it was truncated, or is another log. Check the stream's address with `headrace doctor`"
        )
        raise PastEndError(msg)
