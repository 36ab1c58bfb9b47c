"""The tree of a model's lineages: what each learned, in which order, from which it came, and which states are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from service.domain.registry.registry import Checkpoint, JournalSegment, Lineage, LineageId, Version, VersionKind
from service.domain.registry.replay_plan import ReplayPlan
from service.domain.registry.replay_routes import AncestorState
from service.domain.stream.offset_ranges import prefix_covering
from service.domain.stream.position import OffsetRange, merge_ranges
from service.errors import NotFoundError
from service.operations.services import Services

TRAINED_KINDS = frozenset({VersionKind.INITIAL, VersionKind.RETRAIN})
"""Kinds of versions whose state was learned from nothing."""
LINEAGE_START_KINDS = TRAINED_KINDS | {VersionKind.IMPORT}
"""Kinds of versions that begin a lineage and have no pending events beyond those saved with them."""


@dataclass(frozen=True, slots=True)
class LineageNode:
    """One lineage: what its first state had learned, its order journal, and what else left a trace in its state.

    `traces` are runs behind metrics, counts and remembered ids that a restoring rollback took over. `ancestors` are the
    lineages whose states led to this one by learning alone, itself first.
    """

    lineage: Lineage
    initial_runs: Sequence[OffsetRange]
    journal: Sequence[JournalSegment]
    traces: Sequence[OffsetRange]
    ancestors: Sequence[LineageId]

    @property
    def order(self) -> list[OffsetRange]:
        """Return everything that the lineage has learned, in order."""
        return merge_ranges([*self.initial_runs, *(run for segment in self.journal for run in segment.order)])

    def order_at(self, sequence: int) -> list[OffsetRange]:
        """Return what the lineage had learned by the commit of this sequence number, in order."""
        runs = (run for segment in self.journal if segment.sequence <= sequence for run in segment.order)
        return merge_ranges([*self.initial_runs, *runs])


@dataclass(frozen=True, slots=True)
class LineageTree:
    """Every lineage of a model, its champion, and its versions."""

    model: str
    champion: LineageId
    nodes: Mapping[LineageId, LineageNode]
    versions: Sequence[Version]

    @property
    def champion_order(self) -> list[OffsetRange]:
        """Return everything that the champion has learned, in order."""
        return self.nodes[self.champion].order


def load_lineage_tree(services: Services, model: str) -> LineageTree:
    """Read the model's lineages and versions; raise NotFoundError without a champion."""
    champion = services.registry.models.get(model).champion
    if champion is None:
        msg = f"found no champion of {model}; start `headrace learn {model}` first"
        raise NotFoundError(msg)
    versions = services.registry.history.versions(model)
    predecessors = _predecessors(services, model, versions)
    nodes: dict[LineageId, LineageNode] = {}
    # Lineages come after the ones they began from, whose nodes `_inherited` reads.
    for lineage in services.registry.history.lineages(model):
        journal = services.registry.checkpoints.journal(lineage.id, scores=False)
        initial_runs, traces, parent_ancestors = _inherited(lineage, versions, nodes, predecessors=predecessors)
        nodes[lineage.id] = LineageNode(lineage, initial_runs, journal, traces, [lineage.id, *parent_ancestors])
    return LineageTree(model, champion, nodes, versions)


def known_states(services: Services, tree: LineageTree) -> list[AncestorState]:
    """Return every version, and every kept checkpoint that is not one, oldest first.

    States of lineages that were trained apart and have never served are left out.
    """
    nodes = {key: line for key, line in tree.nodes.items() if not _is_detached(line.lineage, tree.versions)}
    checkpoints = [one for key in nodes for one in services.registry.checkpoints.newest_first(key)]
    pending_digests = {one.digest: one.waiting for one in checkpoints if one.waiting is not None}
    version_digests = {version.digest for version in tree.versions}
    dated_states = [
        (one.created_at, _checkpoint_ancestor(one, nodes[one.lineage]))
        for one in checkpoints
        if one.digest not in version_digests
    ]
    for one in tree.versions:
        if one.lineage in nodes:
            first = _first_version(one.lineage, tree.versions)
            state = _version_ancestor(
                one, nodes[one.lineage], pending_digest=one.waiting or pending_digests.get(one.digest), first=first
            )
            dated_states.append((one.created_at, state))
    return [state for _, state in sorted(dated_states, key=lambda pair: pair[0])]


def newest_with_digest(states: Sequence[AncestorState], digest: str, *, name: str) -> AncestorState:
    """Return the newest state of that digest under the name the user gave; raise NotFoundError if it is gone."""
    found = next((one for one in reversed(states) if one.digest == digest), None)
    if found is None:
        msg = f"found {name} deleted by retention meanwhile, expected it among the states that are kept; ask again"
        raise NotFoundError(msg)
    return replace(found, name=name)


def has_served(lineage: Lineage, versions: Sequence[Version]) -> bool:
    """Return whether the lineage was ever champion; a replay originates a version only when it is promoted."""
    return any(one.number == lineage.origin and one.lineage == lineage.id for one in versions)


def _is_detached(lineage: Lineage, versions: Sequence[Version]) -> bool:
    """Return whether the lineage was trained apart and has never served, so that no history leads through it."""
    return lineage.plan is None and not has_served(lineage, versions)


def _version_ancestor(
    version: Version, node: LineageNode, *, pending_digest: str | None, first: Version
) -> AncestorState:
    is_whole = pending_digest is not None or version.kind in LINEAGE_START_KINDS
    return AncestorState(
        f"version {version.number}",
        version.digest,
        version.lineage,
        version.number,
        version.position,
        prefix_covering(node.order, version.learned),
        node.traces,
        pending_digest,
        is_whole=is_whole or (version.kind is VersionKind.SNAPSHOT and version.number != first.number),
    )


def _checkpoint_ancestor(checkpoint: Checkpoint, node: LineageNode) -> AncestorState:
    return AncestorState(
        f"checkpoint {checkpoint.sequence} of {checkpoint.created_at:%Y-%m-%d %H:%M:%S} UTC",
        checkpoint.digest,
        checkpoint.lineage,
        node.lineage.origin,
        checkpoint.position,
        node.order_at(checkpoint.sequence),
        node.traces,
        checkpoint.waiting,
        is_whole=checkpoint.waiting is not None,
    )


def _first_version(lineage: LineageId, versions: Sequence[Version]) -> Version:
    """Return the version that the lineage began with, or the first that was made of it."""
    found = next((version for version in versions if version.lineage == lineage), None)
    if found is None:
        msg = f"found no version of lineage {lineage}, expected the one that it began with; ask again"
        raise NotFoundError(msg)
    return found


def _inherited(
    lineage: Lineage,
    versions: Sequence[Version],
    nodes: Mapping[LineageId, LineageNode],
    *,
    predecessors: Mapping[int, LineageId],
) -> tuple[Sequence[OffsetRange], Sequence[OffsetRange], Sequence[LineageId]]:
    """Return what a lineage's first state had learned, the traces in it, and the lineages that it continues.

    A restoring rollback continues none: it takes its estimator from one lineage, its metrics and pending events from
    another.
    """
    if lineage.plan is not None:
        plan = ReplayPlan.from_json(lineage.plan)
        source = nodes[plan.source]
        return prefix_covering(source.order, plan.learned), source.traces, source.ancestors
    origin = _first_version(lineage.id, versions)
    if origin.kind in TRAINED_KINDS:
        return origin.learned, (), ()
    parent = next((version for version in versions if version.number == origin.parent), None)
    if parent is None:
        return (), (), ()
    source = nodes[parent.lineage]
    if origin.kind is not VersionKind.ROLLBACK:
        return prefix_covering(source.order, origin.learned), source.traces, source.ancestors
    replaced = [nodes[predecessors[origin.number]]] if origin.number in predecessors else []
    traces = [run for line in replaced for run in (*line.order, *line.traces)] if replaced else source.traces
    return prefix_covering(source.order, origin.learned), traces, ()


def _predecessors(services: Services, model: str, versions: Sequence[Version]) -> Mapping[int, LineageId]:
    """Return, by the version that a rollback made, the lineage whose metrics, counts and ids it took over."""
    lineages: dict[int | None, LineageId] = {version.number: version.lineage for version in versions}
    return {
        entry.to_version: lineages[entry.from_version]
        for entry in services.registry.history.audit(model)
        if entry.action == "rollback" and entry.to_version is not None and entry.from_version in lineages
    }
