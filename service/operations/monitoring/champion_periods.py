"""The lineages that have served as a model's champion, one after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from service.domain.registry.registry import AuditEntry, Lineage, LineageId, Version, VersionNumber


@dataclass(frozen=True, slots=True)
class Reign:
    """A lineage from the moment in which it became champion to the one in which another did.

    `born` says that it began its life as champion, so that all of its journal is of its reign;
    `first` is the version with which it began, `until` None while it lasts.
    """

    lineage: LineageId
    since: datetime
    until: datetime | None
    born: bool
    first: Version


def reigns(
    champion: LineageId,
    *,
    lineages: Sequence[Lineage],
    versions: Sequence[Version],
    audit: Sequence[AuditEntry],
) -> list[Reign]:
    """Oldest first, found from the audit's changes of champion backwards.

    A model of the same name that was deleted has left its audit, which is passed over.
    """
    by_number = {version.number: version for version in versions}
    by_id = {lineage.id: lineage for lineage in lineages}
    own = _since_registered(audit)
    found: list[Reign] = []
    current, until = champion, None
    while True:
        at = _taken_over(own, by_number, current)
        entry = own[at] if at is not None else None
        began = by_id[current]
        since = entry.at if entry is not None and entry.at is not None else began.created_at
        first = by_number[_number(entry)] if entry is not None else by_number[began.origin]
        found.append(Reign(current, since, until, began.created_at >= since, first))
        if at is None or entry is None or entry.from_version is None:
            return found[::-1]
        current, until, own = by_number[entry.from_version].lineage, since, own[:at]


def _since_registered(audit: Sequence[AuditEntry]) -> Sequence[AuditEntry]:
    gone = [i for i, entry in enumerate(audit) if entry.action == "delete"]
    return audit[gone[-1] + 1 :] if gone else audit


def _taken_over(
    audit: Sequence[AuditEntry], versions: Mapping[VersionNumber, Version], lineage: LineageId
) -> int | None:
    """The newest entry in which another lineage gave way to this one."""
    for at in range(len(audit) - 1, -1, -1):
        before, after = (versions.get(n) if n else None for n in (audit[at].from_version, audit[at].to_version))
        if before is not None and after is not None and before.lineage != lineage and after.lineage == lineage:
            return at
    return None


def _number(entry: AuditEntry) -> VersionNumber:
    assert entry.to_version is not None
    return entry.to_version
