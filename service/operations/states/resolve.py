"""Resolves the state that a rollback names: a version, an alias, or the newest state at a time."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from service.domain.registry.registry import LineageId, Version
from service.domain.stream.position import OffsetRange
from service.errors import ConfigurationError, NotFoundError
from service.operations.services import Services
from service.operations.states.lineage_tree import has_served


@dataclass(frozen=True, slots=True)
class ResolvedState:
    """A state's artifact, the version that it is or that its lineage began with, a name, and what it had learned."""

    digest: str
    version: Version
    name: str
    learned: Sequence[OffsetRange]


def resolve_state(
    services: Services, model: str, *, version_or_alias: int | str | None, at: str | None
) -> ResolvedState:
    """Return the version of that number or alias, or else the newest version or checkpoint at the time `at`.

    Raise NotFoundError if there is none, and ConfigurationError if `at` is not an RFC 3339 time.
    """
    versions = services.registry.history.versions(services.registry.models.get(model).name)
    if version_or_alias is None:
        return _newest_state_at(services, model, versions, moment=_parse_time(at))
    aliases = services.registry.history.aliases(model)
    number = aliases.get(str(version_or_alias), version_or_alias)
    found = next((version for version in versions if str(version.number) == str(number)), None)
    if found is None:
        known = ", ".join([*(str(version.number) for version in versions), *aliases])
        msg = (
            f"found no version {version_or_alias} of {model}, expected one of {known}; "
            f"see `headrace model history {model}`"
        )
        raise NotFoundError(msg)
    return _version_state(found)


def resolve_state_by_name(services: Services, model: str, name: str) -> ResolvedState:
    """Return the state at a time if the name looks like one, else the version of that number or alias."""
    by_time = re.match(r"\d{4}-", name) is not None
    return resolve_state(services, model, version_or_alias=None if by_time else name, at=name if by_time else None)


def learned_until(services: Services, origin: Version, lineage: LineageId, *, sequence: int) -> Sequence[OffsetRange]:
    """Return what the lineage had learned by the commit of this sequence number, in order."""
    journal = services.registry.checkpoints.journal(lineage)
    return [*origin.learned, *(run for part in journal if part.sequence <= sequence for run in part.order)]


def _version_state(version: Version) -> ResolvedState:
    return ResolvedState(version.digest, version, f"version {version.number}", version.learned)


def _parse_time(text: str | None) -> datetime:
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError as error:
        msg = f"found --at {text!r}, expected an RFC 3339 time such as 2026-01-31T12:00:00Z"
        raise ConfigurationError(msg) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _newest_state_at(services: Services, model: str, versions: Sequence[Version], *, moment: datetime) -> ResolvedState:
    served_lineages = {one.id for one in services.registry.history.lineages(model) if has_served(one, versions)}
    earlier_versions = [one for one in versions if one.created_at <= moment and one.lineage in served_lineages]
    version_times = {version.number: version.created_at for version in versions}
    checkpoints = [
        (one, lineage)
        for lineage in services.registry.history.lineages(model)
        if has_served(lineage, versions)
        for one in services.registry.checkpoints.newest_first(lineage.id)
        if version_times[lineage.origin] <= one.created_at <= moment
    ]
    if not earlier_versions:
        msg = (
            f"found no version or checkpoint of {model} at or before {moment:%Y-%m-%d %H:%M:%S %Z}; "
            f"see `headrace model history {model}`"
        )
        raise NotFoundError(msg)
    newest = max(earlier_versions, key=lambda one: one.created_at)
    checkpoint, lineage = max(checkpoints, key=lambda pair: pair[0].created_at, default=(None, None))
    if checkpoint is None or lineage is None or checkpoint.created_at <= newest.created_at:
        return _version_state(newest)
    origin = services.registry.history.version(model, lineage.origin)
    name = f"checkpoint {checkpoint.sequence} of {checkpoint.created_at:%Y-%m-%d %H:%M:%S} UTC"
    learned = learned_until(services, origin, lineage.id, sequence=checkpoint.sequence)
    return ResolvedState(checkpoint.digest, origin, name, learned)
