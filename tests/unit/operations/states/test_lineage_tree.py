"""The lineage tree: what each lineage learned, according to the registry."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.bootstrap import App
from service.domain.registry.registry import ChangeOrigin, LineageRole, VersionKind
from service.domain.stream.position import OffsetRange
from service.operations.states.lineage_tree import known_states, load_lineage_tree
from tests.acceptance.harness import PHISHING, Deployment
from tests.contract.registry_values import NAME, commit, leased, snapshot, state, succession
from tests.contract.test_challengers import coronation


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """Yield the object graph over an empty registry."""
    with Deployment(tmp_path, dict(PHISHING)).app() as opened:
        yield opened


def test_a_line_that_serves_again(app: App) -> None:
    """A former champion that returns from probation keeps what it had learned and adds to it."""
    registry = app.registry
    lease = leased(registry)
    registry.checkpoints.commit(commit(lease, 1))
    registry.changes.snapshot(snapshot(lease))
    challenge = succession(
        lease, role=LineageRole.CHALLENGER, kind=VersionKind.INITIAL, learned=[], state=state(b"fresh")
    )
    registry.changes.install_successor(challenge)
    other = registry.challengers.list(NAME)[0].lineage
    _, after = registry.challengers.promote(coronation(lease, other))
    _, again = registry.challengers.promote(coronation(after, lease.lineage, probation=False))
    registry.checkpoints.commit(commit(again, 2))
    past = load_lineage_tree(app.services, NAME)
    assert past.champion == lease.lineage
    assert past.champion_order == [OffsetRange("events", 0, 0, 20)]
    assert past.nodes[lease.lineage].ancestors == [lease.lineage]


def test_whose_waiting_events_are_known(app: App) -> None:
    """First versions and snapshots have all pending events; a rollback that saved none and a bare checkpoint do not."""
    registry = app.registry
    lease = leased(registry)
    registry.checkpoints.commit(commit(lease, 1))
    registry.changes.snapshot(snapshot(lease))
    registry.checkpoints.commit(commit(lease, 2))
    _, after = registry.changes.install_successor(succession(lease, origin=ChangeOrigin("test")))
    registry.changes.snapshot(snapshot(after))
    past = load_lineage_tree(app.services, NAME)
    found = {one.name.partition(" of ")[0]: one.is_whole for one in known_states(app.services, past)}
    assert found == {"version 1": True, "version 2": True, "checkpoint 2": False, "version 3": False, "version 4": True}
    assert past.nodes[after.lineage].ancestors == [after.lineage]
