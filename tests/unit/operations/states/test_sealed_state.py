"""States are opened and sealed in one place, with the same checks everywhere."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import service
from service.bootstrap import App
from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.specification.model import ModelSpec
from service.domain.stream.position import Position
from service.errors import EnvironmentChangedError, TamperedError
from service.operations.services import Services
from service.operations.states import sealed_state
from service.operations.states.diff import open_version
from service.operations.states.registration import register_model
from service.operations.states.sealed_state import open_bytes, open_learner, open_state, seal_bytes, seal_state
from service.operations.states.verify import verify_artifacts
from service.testing.services import with_parts
from tests.acceptance.harness import PHISHING, Deployment

SPEC = ModelSpec.model_validate(PHISHING)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """Yield the object graph over a registry with one model that has learned nothing."""
    deployment = Deployment(tmp_path, dict(PHISHING))
    deployment.publish([])
    with deployment.app() as opened:
        register_model(opened.services, SPEC, actor="test")
        yield opened


def elsewhere(services: Services) -> Services:
    """Return the same registry under another release of river."""
    return with_parts(services, environment={**services.states.environment, "river": "0.1.0"})


@pytest.mark.parametrize(
    "opening",
    [
        lambda services, version: open_state(services, version.digest, model=version.model),
        lambda services, version: open_learner(services, version.digest, spec=SPEC),
        open_version,
    ],
    ids=["state", "learner", "diff"],
)
def test_a_state_of_another_river_is_refused(app: App, opening: Callable[..., object]) -> None:
    """Opening a state that another release of river pickled raises an error that names the command that rebuilds it."""
    version = app.registry.history.versions(SPEC.name)[0]
    opening(app.services, version)
    with pytest.raises(EnvironmentChangedError, match="--mode replay"):
        opening(elsewhere(app.services), version)


def test_verify_reports_what_others_raise(app: App) -> None:
    """`registry verify` reports states of another release of river as findings, and does not stop at the first."""
    assert {one.problem for one in verify_artifacts(app.services)} == {""}
    found = verify_artifacts(elsewhere(app.services))
    assert len(found) > 1
    assert all("--mode replay" in one.problem for one in found)


def test_bytes_that_are_no_state_outlive_a_release(app: App) -> None:
    """Bytes that are not a state are read under every release of river, and altered ones are refused."""
    position, metrics = Position({}), CheckpointMetrics(scored=1)
    sealed = seal_bytes(app.services, b"what waits", model=SPEC.name, position=position, lineage="1")
    state = seal_state(app.services, b"what waits", model=SPEC.name, position=position, learned=7, metrics=metrics)
    assert (state.learned, state.metrics, state.position) == (7, metrics, position)
    kept = {sealed.digest: sealed.artifact, "altered": sealed.artifact[:-1] + b"?"}

    class Kept:
        """Artifacts in memory."""

        def artifact(self, digest: str) -> bytes:
            """Return the sealed bytes."""
            return kept[digest]

    services = with_parts(elsewhere(app.services), history=Kept())
    assert open_bytes(services, sealed.digest) == b"what waits"
    with pytest.raises(TamperedError):
        open_bytes(services, "altered")


def test_nobody_else_opens_or_seals() -> None:
    """No other module of the program calls the sealer to open or seal anything."""
    root = Path(service.__file__).parent
    found = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in sorted(root.rglob("*.py"))
        if path != Path(sealed_state.__file__)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"open", "seal", "digest"}
        if ast.unparse(node.value).rpartition(".")[2] in {"sealer", "opener", "signer"}
    ]
    assert found == []
