"""When a challenger counts as catching up with its champion."""

from datetime import UTC, datetime

import pytest

from service.domain.registry.challenger import Challenger, ChallengerStage
from service.domain.registry.registry import LineageId, ModelName, VersionNumber
from service.operations.challengers.judge import MAX_LIVE_LAG, is_progress

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("known", "behind", "expected"),
    [
        (None, 50_000, True),
        (50_000, 49_999, True),
        (50_000, 50_000, False),
        (50_000, 60_000, False),
        (50_000, MAX_LIVE_LAG, True),
        (0, 60_000, True),
        (MAX_LIVE_LAG, MAX_LIVE_LAG + 1, True),
        (MAX_LIVE_LAG + 1, MAX_LIVE_LAG + 2, False),
        (5, 5, True),
    ],
)
def test_nearer(known: int | None, behind: int, expected: bool) -> None:
    """A challenger near the champion is never late, and one that falls behind later gets as long as a new one."""
    challenger = Challenger(
        LineageId(2), ModelName("phishing"), ChallengerStage.SHADOW, VersionNumber(2), "", NOW, NOW, behind=known
    )
    assert is_progress(challenger, behind) is expected
