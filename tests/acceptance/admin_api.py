"""A server that asks for tokens, over models that have learned, and clients of every kind."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from service.domain.access.access import AccessRole, TokenGrant
from tests.acceptance.harness import PHISHING, STARTED, Deployment, kill, phishing_events
from tests.acceptance.serving import RunningServer, start_server

OTHER = {**PHISHING, "name": "other", "events": "other.events"}
LATE = {**PHISHING, "name": "late", "events": "late.events", "labels": "late.labels"}
PREFIX = "/api/v1"


@dataclass
class Api:
    """A running server, and tokens for it."""

    deployment: Deployment
    served: RunningServer
    tokens: dict[str, str] = field(default_factory=dict)

    def client(self, name: str | None = "admin") -> httpx.Client:
        """Of that token's holder, or of nobody."""
        headers = {} if name is None else {"Authorization": f"Bearer {self.tokens[name]}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.served.port}", headers=headers, timeout=60)

    def ask(self, method: str, path: str, name: str | None = "admin", **given: Any) -> httpx.Response:
        """One request to the admin API."""
        with self.client(name) as client:
            return client.request(method, PREFIX + path, **given)


def open_api(
    folder: Path, *, unborn: bool = False, registry_url: str | None = None, lease_ttl: str = "5s", **server: Any
) -> Api:
    """Two models that have learned, a dead letter, a token for each role and each scope, and a server.

    With `unborn` the file has a third model, which nobody has begun.
    """
    given = {"auth": "tokens", **server}
    deployment = Deployment(folder, server=given, others=[OTHER], registry_url=registry_url, lease_ttl=lease_ttl)
    deployment.publish([*phishing_events(1000), b"{", b"[]"])
    deployment.publish(phishing_events(500), topic="other.events")
    deployment.command("learn", "--until-end")
    tokens: dict[str, str] = {}
    with deployment.app() as app:
        for role in AccessRole:
            for suffix, models in (("", None), ("-of-other", frozenset({"other"}))):
                name = f"{role}{suffix}"
                tokens[name] = app.create_token(TokenGrant(name, role, models), actor="test")[1]
    if unborn:
        deployment.others = [OTHER, LATE]
        deployment.configure()
    return Api(deployment, start_server(deployment, ready=not unborn), tokens)


@contextmanager
def shared_api(folder: Path, *, unborn: bool = False, **server: Any) -> Iterator[Api]:
    """The same for all tests of a module: the end of a test does not end it."""
    found = open_api(folder, unborn=unborn, **server)
    STARTED.remove(found.served.process)
    try:
        yield found
    finally:
        kill(found.served.process)
