"""Put load on an HTTP server from a process of its own: connections with one request at a time each."""

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httptools
import numpy as np
import uvloop


@dataclass(frozen=True, slots=True)
class Request:
    """The request that every connection repeats; `headers` come beside host, type and length."""

    port: int
    path: str
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the request as HTTP/1.1."""
        told = {
            "Host": f"127.0.0.1:{self.port}",
            "Content-Type": self.content_type,
            "Content-Length": str(len(self.body)),
            **self.headers,
        }
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


@dataclass(frozen=True, slots=True)
class Loaded:
    """The responses by status in `seconds`, and the latencies in seconds of those with status 200."""

    seconds: float
    statuses: Mapping[int, int]
    latencies: Sequence[float]

    @property
    def rate(self) -> float:
        """Return the responses with status 200 a second."""
        return self.statuses.get(200, 0) / self.seconds

    def quantile(self, share: float) -> float:
        """Return a quantile of the latencies, in seconds."""
        return float(np.quantile(self.latencies, share))


def load(request: Request, *, connections: int = 8, seconds: float = 5.0, warm_s: float = 0.5) -> Loaded:
    """Run the load in a new process; raise RuntimeError if a connection breaks.

    Responses in the first `warm_s` are not counted.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_load, (request, connections, seconds, warm_s))


def _load(request: Request, connections: int, seconds: float, warm_s: float) -> Loaded:
    return uvloop.run(_all(request, connections, seconds, warm_s))


async def _all(request: Request, connections: int, seconds: float, warm_s: float) -> Loaded:
    loop = asyncio.get_running_loop()
    begins = time.perf_counter() + warm_s
    made = [_Connection(request.to_bytes(), begins, begins + seconds) for _ in range(connections)]
    for connection in made:
        await loop.create_connection(lambda one=connection: one, "127.0.0.1", request.port)
    await asyncio.gather(*(connection.done for connection in made))
    statuses = sum((connection.statuses for connection in made), Counter[int]())
    return Loaded(seconds, statuses, [one for connection in made for one in connection.latencies])


class _Connection(asyncio.Protocol):
    """Sends the request, waits for the whole response, and repeats until the time is over."""

    def __init__(self, request: bytes, begins: float, ends: float) -> None:
        self.statuses: Counter[int] = Counter()
        self.latencies: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request
        self._begins = begins
        self._ends = ends
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: Any) -> None:
        """Send the first request."""
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Parse a part of a response."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Count the complete response, and send the next request."""
        now, status = time.perf_counter(), self._parser.get_status_code()
        if now > self._ends:
            self._transport.close()
            return
        if now > self._begins:
            self.statuses[status] += 1
            if status == 200:
                self.latencies.append(now - self._sent)
        self._parser = httptools.HttpResponseParser(self)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end, or a break before it."""
        if self.done.done():
            return
        if time.perf_counter() > self._ends:
            self.done.set_result(None)
        else:
            self.done.set_exception(RuntimeError(f"the server closed a connection: {exc}"))

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)
