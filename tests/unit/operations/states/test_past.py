"""What each lineage learned, as the registry tells it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.bootstrap import App
from service.domain.registry.registry import Origin, Role, VersionKind
from service.domain.stream.position import Run
from service.operations.states.lineage_tree import candidates, past_of
from tests.acceptance.harness import PHISHING, Deployment
from tests.contract.registry_values import NAME, commit, leased, snapshot, state, succession
from tests.contract.test_challengers import coronation


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """The object graph over an empty registry."""
    with Deployment(tmp_path, dict(PHISHING)).app() as opened:
        yield opened


def test_a_line_that_serves_again(app: App) -> None:
    """A champion with a snapshot that came back from its probation has learned what it had learned, and goes on."""
    registry = app.registry
    lease = leased(registry)
    registry.checkpoints.commit(commit(lease, 1))
    registry.changes.snapshot(snapshot(lease))
    challenge = succession(lease, role=Role.CHALLENGER, kind=VersionKind.INITIAL, learned=[], state=state(b"fresh"))
    registry.changes.succeed(challenge)
    other = registry.challengers.list(NAME)[0].lineage
    _, after = registry.challengers.promote(coronation(lease, other))
    _, again = registry.challengers.promote(coronation(after, lease.lineage, probation=False))
    registry.checkpoints.commit(commit(again, 2))
    past = past_of(app.services, NAME)
    assert past.champion == lease.lineage
    assert past.order == [Run("events", 0, 0, 20)]
    assert past.lines[lease.lineage].flow == [lease.lineage]


def test_whose_waiting_events_are_known(app: App) -> None:
    """Of beginnings and snapshots all that waited is kept, of a rollback what it says, of a checkpoint by itself not."""
    registry = app.registry
    lease = leased(registry)
    registry.checkpoints.commit(commit(lease, 1))
    registry.changes.snapshot(snapshot(lease))
    registry.checkpoints.commit(commit(lease, 2))
    _, after = registry.changes.succeed(succession(lease, origin=Origin("test")))
    registry.changes.snapshot(snapshot(after))
    past = past_of(app.services, NAME)
    found = {one.name.partition(" of ")[0]: one.is_whole for one in candidates(app.services, past)}
    assert found == {"version 1": True, "version 2": True, "checkpoint 2": False, "version 3": False, "version 4": True}
    assert past.lines[after.lineage].flow == [after.lineage]
