"""Refuse requests at once under overload, and close connections whose clients are too slow.

This builds on undocumented internals of uvicorn's connection. Uvicorn has no limit for the time in which a request must
arrive, answers an overload only after it made a task of the request, starts a timer for each request, and passes bodies
and responses as messages: without `Exchange` a small request takes 1.2 times as long. `test_internals_uvicorn.py` names
the parts that are used and fails first if a release changes them; pyproject.toml admits release 0.54 alone.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, ClassVar

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.ports.telemetry import ServingTelemetry
from service.serving.edge import errors as edge_errors
from service.serving.edge.accounting import route_label
from service.serving.edge.limits import RETRY_AFTER_S, WorkerLoad
from service.serving.edge.probes import PROBE_PATHS
from service.serving.edge.problems import problem_response
from service.serving.edge.scope import ARRIVED, EXCHANGE

_log = structlog.get_logger(__name__)

CHECK_EVERY_S = 0.5
MAX_HEAD_BYTES = 65_536
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class _CompletedRequest:
    """Stands for a request that was answered already, whose remaining body is discarded."""

    response_started = response_complete = True
    disconnected = False
    message_event = asyncio.Event()


class Exchange:
    """A shortcut past ASGI for a request whose body arrived with its head, and for a complete response."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def body(self) -> bytes | None:
        """Return the whole body, once, or None if it must be waited for."""
        cycle = self._cycle
        if cycle.more_body or cycle.waiting_for_100_continue or cycle.disconnected:
            return None
        found, cycle.body = bytes(cycle.body), bytearray()
        cycle.message_event.clear()
        cycle.flow.resume_reading()
        return found

    @property
    def can_send_whole(self) -> bool:
        """Return whether a whole response can be sent in one write.

        That takes a connection that is kept alive, can be written to, and has sent no part of a response.
        """
        cycle = self._cycle
        begun = cycle.response_started or cycle.disconnected
        return cycle.keep_alive and not begun and not cycle.flow.write_paused

    def send_whole(self, data: bytes) -> None:
        """Send the head and body of a response in one system call."""
        cycle = self._cycle
        cycle.response_started = cycle.response_complete = True
        cycle.transport.write(data)
        cycle.message_event.set()
        cycle.on_response()


class Connection(HttpToolsProtocol):
    """One client's connection; `deadline_s` is the loop time at which a slow or idle client is closed."""

    load: ClassVar[WorkerLoad]
    telemetry: ClassVar[ServingTelemetry]
    overloaded: ClassVar[bytes]
    late: ClassVar[bytes]
    deadline_s = float("inf")
    head_bytes, in_head = 0, True
    receiving = True

    def connection_made(self, transport: Any) -> None:
        """Start the time limit for the first request."""
        super().connection_made(transport)
        self.deadline_s = self.loop.time() + self.load.timeout_s

    def on_message_begin(self) -> None:
        """Start the time limit for this request."""
        super().on_message_begin()
        self.head_bytes, self.in_head, self.receiving = 0, True, True
        self.deadline_s = self.loop.time() + self.load.timeout_s

    def data_received(self, data: bytes) -> None:
        """Close the connection with 431 if the head is longer than `MAX_HEAD_BYTES`.

        The limit is checked after each read, so one read may exceed it.
        """
        super().data_received(data)
        if self.in_head:
            self.head_bytes += len(data)
            if self.head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.telemetry.request_completed("other", 431)
                self.transport.write(_HEAD_TOO_LARGE)
                self.transport.close()

    def on_headers_complete(self) -> None:
        """Start the request, or refuse it with 429 before any work is done for it."""
        self.in_head = False
        if self.cycle is not None and not self.cycle.response_complete:
            super().on_headers_complete()
        elif self.load.is_full and self.url.partition(b"?")[0].decode("latin-1") not in PROBE_PATHS:
            self._shed_request()
        else:
            scope: Any = self.scope
            self.load.arrived += 1
            scope[ARRIVED] = True
            super().on_headers_complete()
            scope[EXCHANGE] = Exchange(self.cycle)

    def on_message_complete(self) -> None:
        """Stop the time limit of the request, whose body is complete now."""
        self.receiving = False
        is_complete = self.cycle is not None and self.cycle.response_complete
        self.deadline_s = self._idle_deadline_s() if is_complete else float("inf")
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Continue with the next pipelined request, or start the idle time limit.

        `watch_connections` closes idle connections too, so that no request needs a timer.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self.receiving:
            self.deadline_s = self._idle_deadline_s()

    def _idle_deadline_s(self) -> float:
        return self.loop.time() + self.timeout_keep_alive

    def close_overdue(self) -> None:
        """Close the connection, with 408 if a request had begun and was not answered."""
        free = self.cycle is None or self.cycle.response_complete
        unanswered = free if self.in_head else not self.cycle.response_started
        if self.scope is not None and self.receiving and unanswered:
            self.telemetry.request_completed("other", 408)
            self.transport.write(self.late)
        self.transport.close()

    def _shed_request(self) -> None:
        if self.flow.write_paused:
            self.transport.abort()
            return
        done: Any = _CompletedRequest()
        self.cycle = done
        self.telemetry.request_completed(route_label(self.url.partition(b"?")[0].decode("latin-1")), 429)
        self.transport.write(self.overloaded)
        self.load.shed += 1
        if self.parser.should_keep_alive():
            self.on_response_complete()
        else:
            self.transport.close()


def connection_class(load: WorkerLoad, telemetry: ServingTelemetry) -> type[Connection]:
    """Return the connection class of a worker, bound to its load and telemetry."""
    busy = f"found {load.concurrency} requests at work, expected fewer (server.concurrency); ask again"
    slow = f"found a request that took more than {load.timeout_s:g} s to come, expected it sooner (server.timeout)"
    attributes = {
        "load": load,
        "telemetry": telemetry,
        "overloaded": _raw_problem(
            edge_errors.TooManyRequestsError(busy, retry_after_s=RETRY_AFTER_S), 429, "Too Many Requests"
        ),
        "late": _raw_problem(edge_errors.RequestTimeoutError(slow), 408, "Request Timeout", b"connection: close\r\n"),
    }
    return type("WorkerConnection", (Connection,), attributes)


def _raw_problem(error: edge_errors.EdgeError, status: int, phrase: str, more: bytes = b"") -> bytes:
    """Return a problem response as HTTP bytes, so that refusing a request costs nothing more than a write."""
    made = problem_response(error)
    headers = b"".join(name + b": " + value + b"\r\n" for name, value in made.raw_headers)
    return f"HTTP/1.1 {status} {phrase}\r\n".encode() + headers + more + b"\r\n" + bytes(made.body)


async def watch_connections(connections: Iterable[Any], load: WorkerLoad) -> None:
    """Close overdue connections and log how many requests were refused, until cancelled."""
    loop, reported = asyncio.get_running_loop(), 0
    while True:
        await asyncio.sleep(CHECK_EVERY_S)
        now = loop.time()
        for one in [one for one in connections if one.deadline_s < now]:
            one.close_overdue()
        if load.shed != reported:
            _log.warning("requests_shed", count=load.shed - reported)
            reported = load.shed
