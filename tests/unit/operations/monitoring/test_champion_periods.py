"""Champion periods, as the audit tells them."""

from datetime import UTC, datetime, timedelta

import pytest

from service.domain.registry.registry import (
    AuditEntry,
    Lineage,
    LineageId,
    LineageRole,
    ModelName,
    Version,
    VersionKind,
    VersionNumber,
)
from service.domain.stream.position import Position
from service.operations.monitoring.champion_periods import champion_periods

NAME = ModelName("phishing")
BEGAN = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at(minute: int) -> datetime:
    """Return the time so many minutes after the beginning."""
    return BEGAN + timedelta(minutes=minute)


def version(number: int, lineage: int) -> Version:
    """Return a version of a lineage."""
    return Version(
        NAME, VersionNumber(number), VersionKind.SNAPSHOT, None, LineageId(lineage), "", {}, Position(), [], {}, {},
        BEGAN, "ann", "",
    )  # fmt: skip


def entry(minute: int, action: str, before: int | None, after: int | None) -> AuditEntry:
    """Return an entry of the audit, from version to version."""
    numbers = (VersionNumber(n) if n else None for n in (before, after))
    return AuditEntry(NAME, "ann", action, "", *numbers, at=at(minute))


def lineages(*born: int) -> list[Lineage]:
    """Return lineages 1, 2, ..., each created at its minute; lineage n began with version n."""
    return [
        Lineage(LineageId(n), NAME, LineageRole.CHAMPION, VersionNumber(n), at(minute))
        for n, minute in enumerate(born, 1)
    ]


REGISTERED = entry(0, "register", None, 1)
CASES = {
    "one from the start": ((0,), {1: 1}, [REGISTERED], 1, [(1, 0, None, True)]),
    "a rollback": ((0, 5), {1: 1, 2: 2}, [REGISTERED, entry(5, "rollback", 1, 2)], 2, [(1, 0, 5, True), (2, 5, None, True)]),
    "snapshots do not count": (
        (0, 5),
        {1: 1, 2: 2, 3: 1},
        [REGISTERED, entry(3, "snapshot", 1, 1), entry(5, "rollback", 3, 2)],
        2,
        [(1, 0, 5, True), (2, 5, None, True)],
    ),
    "a challenger that never served": (
        (0, 5), {1: 1, 2: 2}, [REGISTERED, entry(5, "retrain", 1, 2)], 1, [(1, 0, None, True)],
    ),
    "a lineage that caught up first": (
        (0, 5),
        {1: 1, 2: 2, 3: 2},
        [REGISTERED, entry(5, "retrain", 1, 2), entry(9, "promote", 1, 3)],
        2,
        [(1, 0, 9, True), (2, 9, None, False)],
    ),
    "back and forth": (
        (0, 5),
        {1: 1, 2: 2},
        [REGISTERED, entry(6, "promote", 1, 2), entry(9, "promote", 2, 1)],
        1,
        [(1, 0, 6, True), (2, 6, 9, False), (1, 9, None, False)],
    ),
    "a model of the same name before": (
        (0,),
        {1: 1},
        [entry(-9, "register", None, 1), entry(-8, "rollback", 1, 2), entry(-7, "delete", None, None), REGISTERED],
        1,
        [(1, 0, None, True)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_reigns(case: tuple[tuple[int, ...], dict[int, int], list[AuditEntry], int, list[tuple[object, ...]]]) -> None:
    """Periods are listed oldest first, each from its take-over to the next, with whether it began as champion."""
    born, versions, audit, champion, expected = case
    found = champion_periods(
        LineageId(champion),
        lineages=lineages(*born),
        versions=[version(number, lineage) for number, lineage in versions.items()],
        audit=audit,
    )
    minutes = [
        (
            one.lineage,
            (one.since - BEGAN).seconds // 60,
            one.until and (one.until - BEGAN).seconds // 60,
            one.began_as_champion,
        )
        for one in found
    ]
    assert minutes == expected
