"""How much a server lets itself be asked: size and kind of a body, its time, and how many at once."""

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
    """What a worker has to do now, and how much it takes on; probes are let in always.

    `arrived` are requests whose work has not begun, `busy` those that are worked on, `held` the bytes of bodies that
    are still coming.
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
        """Whether another request would only wait."""
        return self.arrived + self.in_progress >= self.concurrency


class RequestLimits:
    """Reads the body before anything is done, and does nothing for what is too large, too slow or too much."""

    def __init__(self, app: ASGIApp, load: WorkerLoad) -> None:
        self._app = app
        self._load = load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request; anything else passes."""
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
        """All of it; None where the client went away, or was too slow."""
        self._require_readable(headers_of(scope))
        message = await _first_message(scope, receive)
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > self._load.max_body_bytes:
                raise self._too_large(str(len(body)))
            return body
        return await self._read_rest(message, receive)

    async def _read_rest(self, message: Message, receive: Receive) -> bytes | None:
        """A body that comes in parts; slow ones may hold no more together than as many quick ones as are let in."""
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
    """A body that has come with its head need not be waited for."""
    exchange = scope.get(EXCHANGE)
    body = exchange.body() if exchange is not None else None
    return {"type": "http.request", "body": body} if body is not None else await receive()


def _replay_body(body: bytes, rest: Receive) -> Receive:
    """A body that has been read, to be read again; after it whatever comes."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else await rest()

    return receive
