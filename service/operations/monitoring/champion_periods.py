"""The lineages that have served as a model's champion, one after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from service.domain.registry.registry import AuditEntry, Lineage, LineageId, Version, VersionNumber


@dataclass(frozen=True, slots=True)
class ChampionPeriod:
    """A lineage from the moment in which it became champion to the one in which another did.

    `born` says that it began its life as champion, so that all of its journal is of its reign;
    `first` is the version with which it began, `until` None while it lasts.
    """

    lineage: LineageId
    since: datetime
    until: datetime | None
    began_as_champion: bool
    first_version: Version


def champion_periods(
    champion: LineageId,
    *,
    lineages: Sequence[Lineage],
    versions: Sequence[Version],
    audit: Sequence[AuditEntry],
) -> list[ChampionPeriod]:
    """Oldest first, found from the audit's changes of champion backwards.

    A model of the same name that was deleted has left its audit, which is passed over.
    """
    by_number = {version.number: version for version in versions}
    by_id = {lineage.id: lineage for lineage in lineages}
    entries = _since_registered(audit)
    periods: list[ChampionPeriod] = []
    current, until = champion, None
    while True:
        at = _takeover_index(entries, by_number, current)
        entry = entries[at] if at is not None else None
        current_lineage = by_id[current]
        since = entry.at if entry is not None and entry.at is not None else current_lineage.created_at
        first = by_number[_promoted_version(entry)] if entry is not None else by_number[current_lineage.origin]
        periods.append(ChampionPeriod(current, since, until, current_lineage.created_at >= since, first))
        if at is None or entry is None or entry.from_version is None:
            return periods[::-1]
        current, until, entries = by_number[entry.from_version].lineage, since, entries[:at]


def _since_registered(audit: Sequence[AuditEntry]) -> Sequence[AuditEntry]:
    deletions = [i for i, entry in enumerate(audit) if entry.action == "delete"]
    return audit[deletions[-1] + 1 :] if deletions else audit


def _takeover_index(
    audit: Sequence[AuditEntry], versions: Mapping[VersionNumber, Version], lineage: LineageId
) -> int | None:
    """The newest entry in which another lineage gave way to this one."""
    for at in range(len(audit) - 1, -1, -1):
        before, after = (versions.get(n) if n else None for n in (audit[at].from_version, audit[at].to_version))
        if before is not None and after is not None and before.lineage != lineage and after.lineage == lineage:
            return at
    return None


def _promoted_version(entry: AuditEntry) -> VersionNumber:
    assert entry.to_version is not None
    return entry.to_version
