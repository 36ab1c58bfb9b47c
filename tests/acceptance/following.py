"""Clients that ask servers again and again, and when a model changed."""

import http.client
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from river import datasets

from tests.acceptance.harness import Deployment, terminate, wait_until
from tests.acceptance.serving import start_server

EAGER = [
    "preprocessing.StandardScaler",
    {"linear_model.LogisticRegression": {"optimizer": {"optim.SGD": {"lr": 0.05}}}},
]
X = json.dumps(next(x for x, _ in datasets.Phishing()))


@dataclass
class Client:
    """Asks a server on one connection, again and again."""

    port: int
    seen: list[tuple[float, int, int]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """When, status and version of every answer; an exception is a status 0."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.stop.is_set():
            try:
                connection.request("POST", "/invocations", X)
                found = connection.getresponse()
                said = json.loads(found.read())
                self.seen.append((time.time(), found.status, said.get("version", 0)))
            except (OSError, http.client.HTTPException, ValueError):
                self.seen.append((time.time(), 0, 0))
            time.sleep(0.002)

    def first(self, version: int) -> float:
        """When the version answered first; infinity if it never has."""
        return min((at for at, _, answered in list(self.seen) if answered == version), default=float("inf"))


@contextmanager
def querying(clients: Sequence[Client]) -> Iterator[None]:
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


def newest_change(found: Deployment, action: str) -> tuple[float, int]:
    """When the newest change of that kind was made, and to which version."""
    with found.app() as app:
        entry = [one for one in app.registry.history.audit("phishing") if one.action == action][-1]
    assert entry.at is not None
    assert entry.to_version is not None
    return entry.at.timestamp(), entry.to_version


@contextmanager
def two_replicas(found: Deployment, *, learned: int) -> Iterator[list[Client]]:
    """A learner and two replicas, each asked without a pause by two clients; all of them end as they should."""
    learner = found.start("learn")
    wait_until(lambda: found.learned() == learned)
    replicas = [start_server(found), start_server(found)]
    clients = [Client(replica.port) for replica in replicas for _ in range(2)]
    with querying(clients):
        yield clients
    assert all(terminate(replica.process) == 0 for replica in replicas)
    terminate(learner)


def promote_another(found: Deployment) -> None:
    """The same model learning quicker, applied and promoted as version 2."""
    found.model = {**found.model, "estimator": EAGER}
    found.configure()
    found.command("model", "apply", "phishing")
    found.command("model", "promote", "phishing", "2")


def wait_for_version(clients: Sequence[Client], version: int, *, timeout_s: float) -> float:
    """When the last client has had its first answer from a version."""
    wait_until(lambda: all(client.first(version) < float("inf") for client in clients), timeout_s=timeout_s)
    return max(client.first(version) for client in clients)
