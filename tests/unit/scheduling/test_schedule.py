"""When models are due for a check."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from service.domain.registry.registry import ModelName
from service.domain.specification.retrain import RetrainSpec
from service.scheduling.schedule import DueCheck, RetrainSchedule

NAME = ModelName("m")
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def collected(table: RetrainSchedule, enough: Callable[[list[DueCheck]], bool]) -> list[DueCheck]:
    """Return what became due until `enough` says so, or for at most a minute."""
    found: list[DueCheck] = []
    until = time.monotonic() + 60
    while not enough(found) and time.monotonic() < until:
        found += table.due()
        time.sleep(0.02)
    return found


def test_a_model_is_looked_at_at_once_and_then_again() -> None:
    """A model is due at once and then every `check` seconds; only another specification starts the schedule anew."""
    with RetrainSchedule() as table:
        table.set_spec(NAME, RetrainSpec(check=0.2))
        assert len(collected(table, lambda found: len(found) >= 3)) >= 3
        table.set_spec(NAME, RetrainSpec(check=3600))
        assert set(collected(table, bool)) == {DueCheck(NAME, cron=False)}
        table.set_spec(NAME, RetrainSpec(check=3600))
        time.sleep(0.3)
        assert list(table.due()) == []


def test_without_a_policy_once() -> None:
    """A model without a policy is due once, so that a decision can say that there is none."""
    with RetrainSchedule() as table:
        table.set_spec(NAME, None)
        time.sleep(0.2)
        assert list(table.due()) == [DueCheck(NAME, cron=False)]


def test_a_removed_model_is_left_alone() -> None:
    """A removed model is never due again, and others still are."""
    other = ModelName("other")
    with RetrainSchedule() as table:
        for name in (NAME, other):
            table.set_spec(name, RetrainSpec(check=0.2))
        table.remove(NAME)
        collected(table, lambda found: len(found) >= 2)
        assert {due.model for due in collected(table, lambda found: len(found) >= 3)} == {other}


@pytest.mark.parametrize(("hours", "due"), [(1, 0), (10, 1), (100, 1)])
def test_missed_times_are_made_good_once(hours: int, due: int) -> None:
    """Missed cron times make one check due, however many there were."""
    with RetrainSchedule() as table:
        spec = RetrainSpec(cron="0 3 * * *")
        table.add_missed(NAME, spec, since=NOW - timedelta(hours=hours), now=NOW)
        assert list(table.due()) == [DueCheck(NAME, cron=True)] * due
        table.add_missed(NAME, None, since=NOW - timedelta(hours=hours), now=NOW)
        assert list(table.due()) == []
