"""Replicas follow every change of champion while they are asked."""

from pathlib import Path

import pytest

from tests.acceptance.following import Client, asking, changed
from tests.acceptance.harness import PHISHING, Deployment, phishing_events, terminate, wait_until
from tests.acceptance.serving import serving

EAGER = [
    "preprocessing.StandardScaler",
    {"linear_model.LogisticRegression": {"optimizer": {"optim.SGD": {"lr": 0.05}}}},
]
WITHIN_S = 30.0
"""They need a fraction of a second, as the benchmark `overload` measures; here a machine may be busy."""


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_replicas_follow_a_promotion_and_a_rollback(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    """Two replicas answer from the new champion after each change, and no request fails."""
    url = None if database == "sqlite" else str(request.getfixturevalue("postgres_url"))
    found = Deployment(tmp_path / "one", {**PHISHING, "promote": {"mode": "manual"}}, registry_url=url)
    found.publish(phishing_events(500))
    learner = found.start("learn")
    wait_until(lambda: found.learned() == 500)
    replicas = [serving(found), serving(found)]
    clients = [Client(replica.port) for replica in replicas for _ in range(2)]
    with asking(clients):
        found.model = {**found.model, "estimator": EAGER}
        found.configure()
        found.command("model", "apply", "phishing")
        found.command("model", "promote", "phishing", "2")
        assert changed(found, "promote")[1] == 2
        wait_until(lambda: all(client.first(2) < float("inf") for client in clients), timeout_s=WITHIN_S)
        found.command("model", "rollback", "phishing", "--to", "1", "--wait")
        back = changed(found, "rollback")[1]
        wait_until(lambda: all(client.first(back) < float("inf") for client in clients), timeout_s=WITHIN_S)
    assert {status for client in clients for _, status, _ in client.seen} == {200}
    assert all(terminate(replica.process) == 0 for replica in replicas)
    terminate(learner)
