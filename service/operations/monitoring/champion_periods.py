"""The lineages that have served as a model's champion, one after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from service.domain.registry.registry import AuditEntry, Lineage, LineageId, Version, VersionNumber


@dataclass(frozen=True, slots=True)
class ChampionPeriod:
    """The time during which a lineage was champion; `until` is None while it is.

    `began_as_champion` says that it has been champion all its life, so that its whole journal belongs to the period;
    `first_version` is the version with which the period began.
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
    """Return the periods, oldest first, by following the audit's changes of champion backwards.

    Entries of a deleted model of the same name are ignored.
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
    """Return the index of the newest entry in which another lineage was replaced by this one, or None."""
    for at in range(len(audit) - 1, -1, -1):
        before, after = (versions.get(n) if n else None for n in (audit[at].from_version, audit[at].to_version))
        if before is not None and after is not None and before.lineage != lineage and after.lineage == lineage:
            return at
    return None


def _promoted_version(entry: AuditEntry) -> VersionNumber:
    assert entry.to_version is not None
    return entry.to_version
