"""A model's past as its registry tells it: what each lineage learned, in which order, and what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from service.domain.registry.registry import Checkpoint, JournalSegment, Lineage, LineageId, Version, VersionKind
from service.domain.registry.replay_plan import Plan
from service.domain.registry.replay_routes import Ancestor
from service.domain.stream.offset_ranges import until
from service.domain.stream.position import Run, merged
from service.errors import NotFoundError
from service.operations.services import Services

TRAINED = frozenset({VersionKind.INITIAL, VersionKind.RETRAIN})
"""Kinds of versions whose state began with nothing."""
BEGINNINGS = TRAINED | {VersionKind.IMPORT}
"""Kinds of versions with which a lineage begins, and nothing waits that is not kept with them."""


@dataclass(frozen=True, slots=True)
class Line:
    """One lineage: what its state began with, its journal, and what else left a trace in its state.

    `flow` are the lineages out of which learning alone has made its state, itself the first.
    """

    lineage: Lineage
    base: Sequence[Run]
    journal: Sequence[JournalSegment]
    seen: Sequence[Run]
    flow: Sequence[LineageId]

    @property
    def order(self) -> list[Run]:
        """All that it has learned."""
        return merged([*self.base, *(run for segment in self.journal for run in segment.order)])

    def order_at(self, sequence: int) -> list[Run]:
        """What it had learned by that commit."""
        runs = (run for segment in self.journal if segment.sequence <= sequence for run in segment.order)
        return merged([*self.base, *runs])


@dataclass(frozen=True, slots=True)
class Past:
    """Every lineage of a model, and its versions."""

    model: str
    champion: LineageId
    lines: Mapping[LineageId, Line]
    versions: Sequence[Version]

    @property
    def order(self) -> list[Run]:
        """What the champion has learned."""
        return self.lines[self.champion].order


def past_of(services: Services, model: str) -> Past:
    """Read it all; lineages come after those they began from."""
    champion = services.models.get(model).champion
    if champion is None:
        msg = f"found no champion of {model}; start `headrace learn {model}` first"
        raise NotFoundError(msg)
    versions = services.history.versions(model)
    predecessors = _predecessors(services, model, versions)
    lines: dict[LineageId, Line] = {}
    for lineage in services.history.lineages(model):
        journal = services.checkpoints.journal(lineage.id, scores=False)
        base, seen, flow = _inherited(lineage, versions, lines, predecessors=predecessors)
        lines[lineage.id] = Line(lineage, base, journal, seen, [lineage.id, *flow])
    return Past(model, champion, lines, versions)


def candidates(services: Services, past: Past) -> list[Ancestor]:
    """Every version, and every checkpoint that is kept and is no version, oldest first."""
    lines = {key: line for key, line in past.lines.items() if not _stands_apart(line.lineage, past.versions)}
    kept = [one for key in lines for one in services.checkpoints.newest_first(key)]
    sets = {one.digest: one.waiting for one in kept if one.waiting is not None}
    named = {version.digest for version in past.versions}
    found = [(one.created_at, _of_checkpoint(one, lines[one.lineage])) for one in kept if one.digest not in named]
    for one in past.versions:
        if one.lineage in lines:
            first = _first_of(one.lineage, past.versions)
            state = _of_version(one, lines[one.lineage], waiting=one.waiting or sets.get(one.digest), first=first)
            found.append((one.created_at, state))
    return [state for _, state in sorted(found, key=lambda pair: pair[0])]


def stood(known: Sequence[Ancestor], digest: str, *, name: str) -> Ancestor:
    """Return the newest state of that digest, by the name under which it was asked for; NotFoundError."""
    found = next((one for one in reversed(known) if one.digest == digest), None)
    if found is None:
        msg = f"found {name} thinned away meanwhile, expected it among the states that are kept; ask again"
        raise NotFoundError(msg)
    return replace(found, name=name)


def has_served(lineage: Lineage, versions: Sequence[Version]) -> bool:
    """Whether it ever was champion: one that replays becomes the origin of a version only with its take-over."""
    return any(one.number == lineage.origin and one.lineage == lineage.id for one in versions)


def _stands_apart(lineage: Lineage, versions: Sequence[Version]) -> bool:
    """Whether it was trained beside the champion's line and has never served: no history leads through it."""
    return lineage.plan is None and not has_served(lineage, versions)


def _of_version(version: Version, line: Line, *, waiting: str | None, first: Version) -> Ancestor:
    is_whole = waiting is not None or version.kind in BEGINNINGS
    return Ancestor(
        f"version {version.number}",
        version.digest,
        version.lineage,
        version.number,
        version.position,
        until(line.order, version.learned),
        line.seen,
        waiting,
        is_whole=is_whole or (version.kind is VersionKind.SNAPSHOT and version.number != first.number),
    )


def _of_checkpoint(found: Checkpoint, line: Line) -> Ancestor:
    return Ancestor(
        f"checkpoint {found.sequence} of {found.created_at:%Y-%m-%d %H:%M:%S} UTC",
        found.digest,
        found.lineage,
        line.lineage.origin,
        found.position,
        line.order_at(found.sequence),
        line.seen,
        found.waiting,
        is_whole=found.waiting is not None,
    )


def _first_of(lineage: LineageId, versions: Sequence[Version]) -> Version:
    """The version that a lineage began with, or the first that was made of it."""
    found = next((version for version in versions if version.lineage == lineage), None)
    if found is None:
        msg = f"found no version of lineage {lineage}, expected the one that it began with; ask again"
        raise NotFoundError(msg)
    return found


def _inherited(
    lineage: Lineage,
    versions: Sequence[Version],
    lines: Mapping[LineageId, Line],
    *,
    predecessors: Mapping[int, LineageId],
) -> tuple[Sequence[Run], Sequence[Run], Sequence[LineageId]]:
    """What a lineage began with, what had left a trace by then, and the lineages that it only goes on with.

    A restoring rollback goes on with none: its state is of one lineage, its metrics and what waits of another.
    """
    if lineage.plan is not None:
        plan = Plan.from_json(lineage.plan)
        source = lines[plan.source]
        return until(source.order, plan.learned), source.seen, source.flow
    origin = _first_of(lineage.id, versions)
    if origin.kind in TRAINED:
        return origin.learned, (), ()
    parent = next((version for version in versions if version.number == origin.parent), None)
    if parent is None:
        return (), (), ()
    source = lines[parent.lineage]
    if origin.kind is not VersionKind.ROLLBACK:
        return until(source.order, origin.learned), source.seen, source.flow
    before = [lines[predecessors[origin.number]]] if origin.number in predecessors else []
    seen = [run for line in before for run in (*line.order, *line.seen)] if before else source.seen
    return until(source.order, origin.learned), seen, ()


def _predecessors(services: Services, model: str, versions: Sequence[Version]) -> Mapping[int, LineageId]:
    """Whose metrics, counts and ids a restoring rollback took over, by the version it made."""
    lineages: dict[int | None, LineageId] = {version.number: version.lineage for version in versions}
    return {
        entry.to_version: lineages[entry.from_version]
        for entry in services.history.audit(model)
        if entry.action == "rollback" and entry.to_version is not None and entry.from_version in lineages
    }
