"""Replicas follow every change of champion while they are asked."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from river import datasets

from tests.acceptance.harness import PHISHING, Deployment, phishing_events, terminate, wait_until
from tests.acceptance.serving import serving

EAGER = [
    "preprocessing.StandardScaler",
    {"linear_model.LogisticRegression": {"optimizer": {"optim.SGD": {"lr": 0.05}}}},
]
X = json.dumps(next(x for x, _ in datasets.Phishing()))
WITHIN_S = 2.0


@dataclass
class Client:
    """Asks a server on one connection, again and again."""

    port: int
    seen: list[tuple[float, int, int]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """When, status and version of every answer; an exception is a status 0."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self.stop.is_set():
            try:
                connection.request("POST", "/invocations", X)
                found = connection.getresponse()
                said = json.loads(found.read())
                self.seen.append((time.time(), found.status, said.get("version", 0)))
            except OSError:
                self.seen.append((time.time(), 0, 0))
            time.sleep(0.002)

    def first(self, version: int) -> float:
        """When the version answered first; infinity if it never has."""
        return min((at for at, _, answered in list(self.seen) if answered == version), default=float("inf"))


@contextmanager
def asking(clients: list[Client]) -> Iterator[None]:
    """All of them, at once."""
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for client in clients:
            client.stop.set()
        for thread in threads:
            thread.join()


def changed(found: Deployment, action: str) -> tuple[float, int]:
    """When the newest change of that kind was made, and to which version."""
    with found.app() as app:
        entry = [one for one in app.registry.history.audit("phishing") if one.action == action][-1]
    assert entry.at is not None
    assert entry.to_version is not None
    return entry.at.timestamp(), entry.to_version


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_replicas_follow_a_promotion_and_a_rollback(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    """Two replicas answer from the new champion within two seconds of each change, and no request fails."""
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
        followed = [changed(found, "promote")]
        assert followed[0][1] == 2
        wait_until(lambda: all(client.first(2) < float("inf") for client in clients), timeout_s=10)
        found.command("model", "rollback", "phishing", "--to", "1", "--wait")
        followed.append(changed(found, "rollback"))
        wait_until(lambda: all(client.first(followed[1][1]) < float("inf") for client in clients), timeout_s=10)
    for at, version in followed:
        assert max(client.first(version) - at for client in clients) < WITHIN_S
    assert {status for client in clients for _, status, _ in client.seen} == {200}
    assert all(terminate(replica.process) == 0 for replica in replicas)
    terminate(learner)
