"""Send complete responses in one write, with heads that are encoded once."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import TypeAlias

from starlette.types import Receive, Scope, Send

from service.serving.edge.scope import EXCHANGE, REQUEST_RECORD

RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes]]


class ResponseHead:
    """A status and headers, as ASGI has them and as encoded bytes; whoever makes one ensures they are valid."""

    __slots__ = ("headers", "raw", "status")

    def __init__(self, status: int, headers: RawHeaders) -> None:
        self.status = status
        self.headers = headers
        line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
        self.raw = line + b"".join([b"%s: %s\r\n" % one for one in headers])


class PreparedResponse:
    """A complete response, as an ASGI application."""

    __slots__ = ("_body", "_head", "_more")

    def __init__(self, head: ResponseHead, body: bytes, extra_headers: RawHeaders = ()) -> None:
        self._head = head
        self._body = body
        self._more = extra_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response in one write if the connection allows it, otherwise as ASGI messages."""
        del receive
        exchange = scope.get(EXCHANGE)
        if exchange is not None and exchange.can_send_whole:
            record = scope[REQUEST_RECORD]
            extra_headers = b"".join([b"%s: %s\r\n" % one for one in self._more]) if self._more else b""
            rest = b"%scontent-length: %d\r\nx-request-id: %s\r\n\r\n" % (
                extra_headers,
                len(self._body),
                record.request_id,
            )
            record.status = self._head.status
            exchange.send_whole(self._head.raw + rest + self._body)
            return
        headers = [*self._head.headers, *self._more, (b"content-length", b"%d" % len(self._body))]
        await send({"type": "http.response.start", "status": self._head.status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})
