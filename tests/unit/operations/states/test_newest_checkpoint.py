"""The newest checkpoint, also of a model that is deleted while another command works with it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.bootstrap import App
from service.domain.registry.registry import LineageId, RegisteredModel
from service.errors import NotFoundError
from service.operations.monitoring.drift import drift_status
from service.operations.reporting.describe import describe_model
from service.operations.retraining.baseline import load_training_baseline
from service.operations.states.newest_checkpoint import newest_checkpoint
from tests.acceptance.harness import PHISHING, Deployment
from tests.contract.registry_values import NAME, commit, leased


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """Yield the object graph over an empty registry."""
    with Deployment(tmp_path, dict(PHISHING)).app() as opened:
        yield opened


def test_the_newest(app: App) -> None:
    """The last commit is the newest checkpoint."""
    lease = leased(app.registry)
    for sequence in (1, 2):
        app.registry.checkpoints.commit(commit(lease, sequence))
    assert newest_checkpoint(app.services, lease.lineage).sequence == 2


@pytest.mark.parametrize(
    "reading",
    [
        describe_model,
        lambda services, model: drift_status(services, model.name, limit=5),
        lambda services, model: load_training_baseline(services, model.name),
        lambda services, model: newest_checkpoint(services, model.champion or LineageId(0)),
    ],
    ids=["describe", "drift", "training", "the lookup itself"],
)
def test_a_model_that_goes_meanwhile(app: App, monkeypatch: pytest.MonkeyPatch, reading: Callable[..., object]) -> None:
    """Operations on a model that was deleted after it was looked up raise a NotFoundError that explains it."""
    leased(app.registry, ttl_s=-1.0)
    model: RegisteredModel = app.registry.models.get(NAME)
    app.registry.models.delete(NAME, actor="test", reason="gone")
    monkeypatch.setattr(app.registry.models, "get", lambda name: model)
    with pytest.raises(NotFoundError, match=r"found no .*(deleted|expected)"):
        reading(app.services, model)
