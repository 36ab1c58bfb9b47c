"""Serve `/metrics`, `/healthz` and `/readyz` of a role on a port of its own."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from service.errors import ConfigurationError


@contextmanager
def health_server(
    address: tuple[str, int], *, registry: CollectorRegistry, not_ready: Callable[[], Sequence[str]]
) -> Iterator[int]:
    """Serve for the length of the block, and yield the port; raise ConfigurationError if it is taken."""
    try:
        server = ThreadingHTTPServer(address, _handler(registry, not_ready))
    except OSError as error:
        msg = (
            f"found {address[0]}:{address[1]} not free for /metrics ({error.strerror}), expected a free port: "
            "another learner may run here; set learner.port, or 0 to have one chosen"
        )
        raise ConfigurationError(msg) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


def _handler(registry: CollectorRegistry, not_ready: Callable[[], Sequence[str]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers three read-only routes."""

        def do_GET(self) -> None:
            """Answer one of the three routes, or 404."""
            if self.path == "/metrics":
                self._answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)
            elif self.path == "/healthz":
                self._answer(200, b'{"status": "alive"}', "application/json")
            elif self.path == "/readyz":
                reasons = list(not_ready())
                body = json.dumps({"ready": not reasons, "reasons": reasons}).encode()
                self._answer(503 if reasons else 200, body, "application/json")
            else:
                self._answer(404, b'{"error": "expected /metrics, /healthz or /readyz"}', "application/json")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
            """Log nothing, since scrapes are frequent."""

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
