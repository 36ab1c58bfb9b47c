"""A server of a deployment, and requests to it."""

import http.client
import json
import re
import socket
import subprocess
import time
from contextlib import suppress
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
class RunningServer:
    """A running `headrace serve`; its processes that answer are `pids`."""

    deployment: Deployment
    process: "subprocess.Popen[bytes]"
    port: int
    before: int

    @property
    def pids(self) -> list[int]:
        """Every process that has ever answered."""
        return [int(one) for one in re.findall(r"server_started .*pid=([0-9]+)", self.log)]

    @property
    def log(self) -> str:
        """What the deployment has printed since it was started."""
        return self.deployment.log()[self.before :]

    def ask(self, path: str, body: bytes | str, **headers: str) -> Reply:
        """POST, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
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

    def raw(self, data: bytes, *, wait_s: float = 20.0) -> bytes:
        """What comes back until the server closes the connection, or for so long."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait_s) as client:
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have read enough to refuse the rest
                client.sendall(data)
            return received(client, wait_s=wait_s)


def received(client: socket.socket, *, wait_s: float) -> bytes:
    """All that comes until the end of the connection or of the time."""
    found, until = b"", time.monotonic() + wait_s
    while (left := until - time.monotonic()) > 0:
        client.settimeout(left)
        try:
            part = client.recv(65536)
        except (TimeoutError, ConnectionResetError):
            break
        if not part:
            break
        found += part
    return found


def start_server(deployment: Deployment, *arguments: str, ready: bool = True) -> RunningServer:
    """Start one, on a free port."""
    log = deployment.folder / "learner.log"
    before = len(deployment.log()) if log.exists() else 0
    process = deployment.start("serve", "--port", "0", *arguments)
    served = RunningServer(deployment, process, 0, before)
    wait_until(lambda: "server_started" in served.log or process.poll() is not None)
    found = re.search(r"server_started .*port=([0-9]+)", served.log)
    assert found, served.log[-2000:]
    served.port = int(found[1])
    if ready:
        wait_until(lambda: served.get("/readyz")[0] == 200)
    return served
