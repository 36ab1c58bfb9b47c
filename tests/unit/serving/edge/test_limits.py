"""A server bounds the memory of request bodies that are still arriving."""

import asyncio
from collections.abc import Sequence

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.serving.edge.limits import RequestLimits, WorkerLoad


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the length of the body."""
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(len(body)).encode()})


class Client:
    """Sends parts when told to, and keeps the response."""

    def __init__(self, limits: RequestLimits) -> None:
        self._parts: asyncio.Queue[Message] = asyncio.Queue()
        self.answer: list[Message] = []
        scope = {"type": "http", "path": "/invocations", "method": "POST", "headers": [], "state": {}}
        self.task = asyncio.ensure_future(limits(scope, self._parts.get, self._keep))

    async def _keep(self, message: Message) -> None:
        self.answer.append(message)

    async def send(self, body: bytes, *, more: bool) -> None:
        """Send a part of the body, and let every other task run."""
        self._parts.put_nowait({"type": "http.request", "body": body, "more_body": more})
        for _ in range(5):
            await asyncio.sleep(0)

    async def leave(self) -> None:
        """Disconnect before the end of the body."""
        self._parts.put_nowait({"type": "http.disconnect"})
        await self.task

    @property
    def status(self) -> int | None:
        """Return the response's status, or None if there is none yet."""
        return self.answer[0]["status"] if self.answer else None


async def _slow_and_quick(load: WorkerLoad) -> tuple[Sequence[int | None], int | None, int | None]:
    limits = RequestLimits(echo, load)
    slow = [Client(limits) for _ in range(5)]
    for client in slow:
        await client.send(b"x" * 90, more=True)
    statuses = [client.status for client in slow]
    quick = Client(limits)
    await quick.send(b"x" * 90, more=False)
    await slow[0].send(b"x" * 5, more=False)
    for client in slow[1:4]:
        await client.leave()
    return statuses, quick.status, slow[0].status


def test_slow_bodies_hold_no_more_than_quick_ones_could() -> None:
    """Partial bodies past the bound are refused, and a complete body is not."""
    load = WorkerLoad(max_body_bytes=100, timeout_s=60.0, concurrency=4)
    statuses, quick, first = asyncio.run(_slow_and_quick(load))
    assert statuses == [None, None, None, None, 429]
    assert (quick, first) == (200, 200)
    assert load.buffered_bytes == 0


@pytest.mark.parametrize("parts", [[101], [60, 60], [50, 50, 1]], ids=str)
def test_a_body_past_the_measure_is_refused(parts: list[int]) -> None:
    """A body past the limit is refused in one part or several, and nothing of it stays in memory."""
    load = WorkerLoad(max_body_bytes=100, timeout_s=60.0, concurrency=4)

    async def sent() -> int | None:
        client = Client(RequestLimits(echo, load))
        for number, size in enumerate(parts, start=1):
            await client.send(b"x" * size, more=number < len(parts))
        return client.status

    assert asyncio.run(sent()) == 413
    assert load.buffered_bytes == 0
