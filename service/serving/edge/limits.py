"""How much a server lets itself be asked: size and kind of a body, its time, and how many at once."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.serving.edge.errors import EdgeError, TooLargeError, TooManyError, UnsupportedMediaError
from service.serving.edge.probes import PATHS
from service.serving.edge.problems import problem
from service.serving.edge.scope import ARRIVED, BODY, EXCHANGE, headers_of

RETRY_S = 1.0


@dataclass
class Load:
    """What a worker has to do now, and how much it takes on; probes are let in always.

    `arrived` are requests whose work has not begun, `busy` those that are worked on, `held` the bytes of bodies that
    are still coming.
    """

    max_body: int
    timeout_s: float
    concurrency: int
    arrived: int = 0
    busy: int = 0
    shed: int = 0
    held: int = 0

    @property
    def full(self) -> bool:
        """Whether another request would only wait."""
        return self.arrived + self.busy >= self.concurrency


class Limits:
    """Reads the body before anything is done, and does nothing for what is too large, too slow or too much."""

    def __init__(self, app: ASGIApp, load: Load) -> None:
        self._app = app
        self._load = load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request; anything else passes."""
        self._load.arrived -= scope.pop(ARRIVED, False)
        if scope["type"] != "http" or scope["path"] in PATHS:
            await self._app(scope, receive, send)
            return
        try:
            body = await self._body(scope, receive)
            if body is not None:
                scope[BODY] = body
                await self._work(scope, _replayed(body, receive), send)
        except EdgeError as error:
            refusal = problem(error, instance=scope["path"])
            refusal.headers["Connection"] = "close"
            await refusal(scope, receive, send)

    async def _work(self, scope: Scope, receive: Receive, send: Send) -> None:
        load = self._load
        if load.busy >= load.concurrency:
            msg = f"found {load.busy} requests being answered, expected fewer than server.concurrency; ask again"
            raise TooManyError(msg, retry_after_s=RETRY_S)
        load.busy += 1
        try:
            await self._app(scope, receive, send)
        finally:
            load.busy -= 1

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """All of it; None where the client went away, or was too slow."""
        self._require_readable(headers_of(scope))
        message = await _first(scope, receive)
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > self._load.max_body:
                raise self._too_large(str(len(body)))
            return body
        return await self._rest(message, receive)

    async def _rest(self, message: Message, receive: Receive) -> bytes | None:
        """A body that comes in parts; slow ones may hold no more together than as many quick ones as are let in."""
        whole = bytearray()
        try:
            while message["type"] == "http.request":
                whole += message.get("body", b"")
                self._load.held += len(message.get("body", b""))
                self._require_room(len(whole))
                if not message.get("more_body"):
                    return bytes(whole)
                message = await receive()
            return None
        finally:
            self._load.held -= len(whole)

    def _require_room(self, size: int) -> None:
        load = self._load
        if size > load.max_body:
            raise self._too_large(str(size))
        if load.held > load.max_body * load.concurrency:
            msg = f"found {load.held} bytes of bodies that are still coming, expected fewer; ask again"
            raise TooManyError(msg, retry_after_s=RETRY_S)

    def _require_readable(self, headers: Mapping[bytes, bytes]) -> None:
        length = headers.get(b"content-length")
        if length is not None and (not length.isdigit() or int(length[:20]) > self._load.max_body):
            raise self._too_large(length[:20].decode("latin-1"))
        encoding = headers.get(b"content-encoding", b"identity").lower()
        if encoding not in {b"identity", b""}:
            msg = f"found a body compressed by {encoding[:20].decode('latin-1')!r}, expected it as it is"
            raise UnsupportedMediaError(msg)

    def _too_large(self, found: str) -> TooLargeError:
        return TooLargeError(f"found {found} bytes, expected at most {self._load.max_body} (server.max_body)")


async def _first(scope: Scope, receive: Receive) -> Message:
    """A body that has come with its head need not be waited for."""
    exchange = scope.get(EXCHANGE)
    come = exchange.body() if exchange is not None else None
    return {"type": "http.request", "body": come} if come is not None else await receive()


def _replayed(body: bytes, rest: Receive) -> Receive:
    """A body that has been read, to be read again; after it whatever comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return waiting.pop() if waiting else await rest()

    return receive
