"""A server of a deployment, and requests to it."""

import http.client
import json
import re
import subprocess
from dataclasses import dataclass
from typing import Any

from tests.acceptance.harness import Deployment, fetch, wait_until


@dataclass(frozen=True)
class Reply:
    """An answer over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)


@dataclass
class Served:
    """A running `headrace serve`."""

    process: "subprocess.Popen[bytes]"
    port: int

    def ask(self, path: str, body: bytes | str, **headers: str) -> Reply:
        """POST, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("POST", path, body, given)
            found = connection.getresponse()
            return Reply(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())
        finally:
            connection.close()

    def predict(self, x: Any, **headers: str) -> Reply:
        """POST /invocations."""
        return self.ask("/invocations", json.dumps(x), **headers)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body."""
        return fetch(self.port, path)


def serving(deployment: Deployment, *arguments: str, ready: bool = True) -> Served:
    """Start one, on a free port."""
    process = deployment.start("serve", "--port", "0", *arguments)
    pattern = re.compile(
        rf"server_started +.*pid={process.pid} +port=([0-9]+)|server_started .*port=([0-9]+).*pid={process.pid}"
    )
    wait_until(lambda: pattern.search(deployment.log()) or process.poll() is not None)
    found = pattern.search(deployment.log())
    assert found, deployment.log()[-2000:]
    served = Served(process, int(found[1] or found[2]))
    if ready:
        wait_until(lambda: served.get("/readyz")[0] == 200, timeout_s=30)
    return served
