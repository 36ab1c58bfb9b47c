"""Retention of checkpoints: all of the last minutes, fewer of the last days."""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta

NEWEST_KEPT = 10
RETENTION_STEPS = (
    (timedelta(hours=1), timedelta(minutes=1)),
    (timedelta(days=1), timedelta(hours=1)),
    (timedelta(days=30), timedelta(days=1)),
)


def retained_times(times: Sequence[datetime], *, now: datetime) -> set[datetime]:
    """Return which of `times` (newest first) to keep: ten, then one per minute, hour, day; none past thirty days."""
    found = set(times[:NEWEST_KEPT])
    for reach, step in RETENTION_STEPS:
        seen: set[int] = set()
        for time in times:
            slot = int(time.timestamp() // step.total_seconds())
            if now - time <= reach and slot not in seen:
                seen.add(slot)
                found.add(time)
    return found


def pending_sets_to_keep(kept: set[datetime], stored: Sequence[datetime]) -> set[datetime]:
    """Return the newest stored time at or before each kept time; a replay from there needs that set of pending rows."""
    ordered = sorted(stored)
    indices = (bisect_right(ordered, time) for time in kept)
    return {ordered[place - 1] for place in indices if place}
