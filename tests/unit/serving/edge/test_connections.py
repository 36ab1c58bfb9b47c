"""Connections send whole responses in one write, close late and idle clients, and pipeline requests."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from prometheus_client import CollectorRegistry
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from service.metrics.server import PrometheusServerTelemetry
from service.serving.edge import connections
from service.serving.edge.accounting import RequestAccounting
from service.serving.edge.application import server_application
from service.serving.edge.connections import Connection, connection_class, watch_connections
from service.serving.edge.limits import WorkerLoad
from service.serving.edge.prepared_response import PreparedResponse, ResponseHead
from service.serving.edge.scope import BODY

HEAD = ResponseHead(200, [(b"content-type", b"text/plain")])


class Echo:
    """Answers with the body in upper case."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as an ASGI application."""
        await PreparedResponse(HEAD, scope[BODY].upper(), [(b"x-more", b"1")])(scope, receive, send)


class Transport:
    """Keeps what is written, one piece per write."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False
        self.changed = asyncio.Event()

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Return addresses, and no encryption."""
        return {"peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 6)}.get(name, default)

    def write(self, data: bytes) -> None:
        """Keep what the connection writes."""
        self.written.append(data)
        self.changed.set()

    def close(self) -> None:
        """Note that the server closes the connection."""
        self.closed = True
        self.changed.set()

    async def until_written(self, count: int) -> None:
        """Wait until there were `count` writes."""
        while len(self.written) < count:
            self.changed.clear()
            await self.changed.wait()

    async def until_closed(self) -> None:
        """Wait until the server has closed the connection."""
        while not self.closed:
            self.changed.clear()
            await self.changed.wait()

    def is_closing(self) -> bool:
        """Return whether the server has closed the connection."""
        return self.closed

    def pause_reading(self) -> None:
        """Do nothing."""

    def resume_reading(self) -> None:
        """Do nothing."""


def request(body: bytes, *more: bytes) -> bytes:
    """Return one request as it is sent."""
    lines = [b"POST /echo HTTP/1.1", b"Host: here", b"Content-Length: %d" % len(body), *more]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def spoken(
    work: Callable[[Any, Transport], Awaitable[None]],
    *,
    idle_s: int = 60,
    timeout_s: float = 60.0,
    concurrency: int = 10,
) -> Transport:
    """Return what was written while `work` ran."""

    async def all_of_it() -> Transport:
        load = WorkerLoad(max_body_bytes=1000, timeout_s=timeout_s, concurrency=concurrency)
        telemetry = PrometheusServerTelemetry(CollectorRegistry())
        echo: Any = Echo()
        app = server_application(
            [Route("/echo", echo, methods=["POST"])], load=load, accounting=RequestAccounting(telemetry, None)
        )
        config = uvicorn.Config(app, http=connection_class(load, telemetry), timeout_keep_alive=idle_s, log_config=None)
        config.load()
        state = ServerState()
        made: Connection = connection_class(load, telemetry)(config, state, {}, asyncio.get_running_loop())
        transport: Any = Transport()
        made.connection_made(transport)
        watch = asyncio.create_task(watch_connections([made], load))
        await asyncio.wait_for(work(made, transport), timeout=30)
        watch.cancel()
        made.connection_lost(ConnectionResetError())
        await asyncio.gather(*state.tasks)
        assert (load.arrived, load.in_progress, load.buffered_bytes) == (0, 0, 0)
        return transport

    return asyncio.run(all_of_it())


def test_a_whole_answer_is_one_write() -> None:
    """Head, request id and body are sent together."""

    async def work(connection: Connection, transport: Transport) -> None:
        connection.data_received(request(b"abc", b"X-Request-Id: mine"))
        await transport.until_written(1)

    found = spoken(work)
    assert found.written == [
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-more: 1\r\ncontent-length: 3\r\nx-request-id: mine\r\n\r\nABC"
    ]
    assert not found.closed


@pytest.mark.parametrize("parts", [[b"a", b"bc"], [b"abc"]], ids=["two", "whole"])
def test_a_body_that_comes_later_is_waited_for(parts: list[bytes]) -> None:
    """A body that arrives late gets the same response as one that arrives at once."""

    async def work(connection: Connection, transport: Transport) -> None:
        connection.data_received(request(b"abc")[:-3])
        for part in parts:
            await asyncio.sleep(0.01)
            assert not transport.written
            connection.data_received(part)
        await transport.until_written(1)

    assert spoken(work).written[0].endswith(b"ABC")


def test_requests_before_their_turn_are_answered_in_order() -> None:
    """Three pipelined requests are answered in order, and the last one closes the connection."""

    async def work(connection: Connection, transport: Transport) -> None:
        connection.data_received(request(b"a") + request(b"b") + request(b"c", b"Connection: close"))
        await transport.until_closed()

    found = b"".join(spoken(work).written)
    assert [part[-1:] for part in found.split(b"HTTP/1.1 200 OK")[1:]] == [b"A", b"B", b"C"]
    assert found.count(b"connection: close") == 1


def test_an_idle_client_is_left_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that had its response and sends no further request is closed without a word."""
    monkeypatch.setattr(connections, "CHECK_EVERY_S", 0.01)

    async def work(connection: Connection, transport: Transport) -> None:
        connection.data_received(request(b"abc"))
        await transport.until_closed()

    assert len(spoken(work, idle_s=0).written) == 1


@pytest.mark.parametrize("sent", [request(b"abc"), request(b"abc")[:-1]], ids=["whole", "begun"])
def test_a_client_that_was_shed_is_not_kept(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """A refused client is closed once it is idle or late, whether its body ends or not."""
    monkeypatch.setattr(connections, "CHECK_EVERY_S", 0.01)

    async def work(connection: Connection, transport: Transport) -> None:
        connection.data_received(sent)
        await transport.until_closed()

    (answer,) = spoken(work, idle_s=0, timeout_s=0.05, concurrency=0).written
    assert answer.startswith(b"HTTP/1.1 429 Too Many Requests")


@pytest.mark.parametrize("begun", [b"POST /echo HT", request(b"abc")[:-1]], ids=["head", "body"])
def test_a_slow_client_is_told_so(monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    """A client that is slow in the head or the body of any request gets 408."""
    monkeypatch.setattr(connections, "CHECK_EVERY_S", 0.01)

    async def work(connection: Connection, transport: Transport) -> None:
        connection.data_received(request(b"abc"))
        await transport.until_written(1)
        connection.data_received(begun)
        await transport.until_closed()

    first, second = spoken(work, timeout_s=0.05).written
    assert first.startswith(b"HTTP/1.1 200 OK")
    assert second.startswith(b"HTTP/1.1 408 Request Timeout")
