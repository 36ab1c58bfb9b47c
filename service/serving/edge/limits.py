"""Limit what a server takes on: the size and kind of bodies, their time, and the requests at once."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.serving.edge.errors import EdgeError, TooLargeError, TooManyRequestsError, UnsupportedMediaError
from service.serving.edge.probes import PROBE_PATHS
from service.serving.edge.problems import problem_response
from service.serving.edge.scope import ARRIVED, BODY, EXCHANGE, headers_of

RETRY_AFTER_S = 1.0


@dataclass
class WorkerLoad:
    """The load of a worker and its limits; probes are always let in.

    `arrived` counts requests whose processing has not begun, `in_progress` those being processed, `shed` those refused,
    and `buffered_bytes` the bytes of bodies that are still arriving.
    """

    max_body_bytes: int
    timeout_s: float
    concurrency: int
    arrived: int = 0
    in_progress: int = 0
    shed: int = 0
    buffered_bytes: int = 0

    @property
    def is_full(self) -> bool:
        """Return whether another request would only wait."""
        return self.arrived + self.in_progress >= self.concurrency


class RequestLimits:
    """Reads a request's body before the application runs, and refuses what is too large, slow or much."""

    def __init__(self, app: ASGIApp, load: WorkerLoad) -> None:
        self._app = app
        self._load = load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Apply the limits to a request; probes and other ASGI events pass."""
        self._load.arrived -= scope.pop(ARRIVED, False)
        if scope["type"] != "http" or scope["path"] in PROBE_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read_body(scope, receive)
            if body is not None:
                scope[BODY] = body
                await self._run_app(scope, _replay_body(body, receive), send)
        except EdgeError as error:
            refusal = problem_response(error, instance=scope["path"])
            refusal.headers["Connection"] = "close"
            await refusal(scope, receive, send)

    async def _run_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        load = self._load
        if load.in_progress >= load.concurrency:
            msg = f"found {load.in_progress} requests being answered, expected fewer than server.concurrency; ask again"
            raise TooManyRequestsError(msg, retry_after_s=RETRY_AFTER_S)
        load.in_progress += 1
        try:
            await self._app(scope, receive, send)
        finally:
            load.in_progress -= 1

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the whole body, or None if the client disconnected or was too slow."""
        self._require_readable(headers_of(scope))
        message = await _first_message(scope, receive)
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > self._load.max_body_bytes:
                raise self._too_large(str(len(body)))
            return body
        return await self._read_rest(message, receive)

    async def _read_rest(self, message: Message, receive: Receive) -> bytes | None:
        """Return a body that arrives in parts, or None if the client disconnected.

        Together such bodies may hold no more memory than the bodies of all requests that are processed at once.
        """
        whole = bytearray()
        try:
            while message["type"] == "http.request":
                whole += message.get("body", b"")
                self._load.buffered_bytes += len(message.get("body", b""))
                self._require_room(len(whole))
                if not message.get("more_body"):
                    return bytes(whole)
                message = await receive()
            return None
        finally:
            self._load.buffered_bytes -= len(whole)

    def _require_room(self, size: int) -> None:
        load = self._load
        if size > load.max_body_bytes:
            raise self._too_large(str(size))
        if load.buffered_bytes > load.max_body_bytes * load.concurrency:
            msg = f"found {load.buffered_bytes} bytes of bodies that are still coming, expected fewer; ask again"
            raise TooManyRequestsError(msg, retry_after_s=RETRY_AFTER_S)

    def _require_readable(self, headers: Mapping[bytes, bytes]) -> None:
        length = headers.get(b"content-length")
        if length is not None and (not length.isdigit() or int(length[:20]) > self._load.max_body_bytes):
            raise self._too_large(length[:20].decode("latin-1"))
        encoding = headers.get(b"content-encoding", b"identity").lower()
        if encoding not in {b"identity", b""}:
            msg = f"found a body compressed by {encoding[:20].decode('latin-1')!r}, expected it as it is"
            raise UnsupportedMediaError(msg)

    def _too_large(self, found: str) -> TooLargeError:
        return TooLargeError(f"found {found} bytes, expected at most {self._load.max_body_bytes} (server.max_body)")


async def _first_message(scope: Scope, receive: Receive) -> Message:
    """Return the request's first message; a body that arrived with its head is there already."""
    exchange = scope.get(EXCHANGE)
    body = exchange.body() if exchange is not None else None
    return {"type": "http.request", "body": body} if body is not None else await receive()


def _replay_body(body: bytes, rest: Receive) -> Receive:
    """Return a `receive` that gives the body that was read once more, then whatever follows."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else await rest()

    return receive
