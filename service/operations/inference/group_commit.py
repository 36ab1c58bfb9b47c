"""Group commit: records of concurrent requests to a topic are appended, and become durable, together."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from service.errors import HeadraceError, UnavailableError
from service.ports.stream import Sink

_log = structlog.get_logger(__name__)

MAX_QUEUED_RECORDS = 100_000
MAX_QUEUED_BYTES = 64_000_000
"""Limits of a topic's queue in one process; a larger request is accepted when the queue is empty."""
MAX_RECORDS_PER_APPEND, MAX_BYTES_PER_APPEND = 10_000, 8_000_000


@dataclass(slots=True)
class _AppendRequest:
    """One request's records, appended together and in their order."""

    values: Sequence[bytes]
    keys: Sequence[bytes]
    size: int
    done: "Future[None]" = field(default_factory=Future)


class GroupCommitAppender:
    """One topic's bounded queue, and the one thread that appends what waits there.

    The sink is opened with the first record and kept; after a failed append it is opened again.
    """

    def __init__(self, open_sink: Callable[[], Sink], topic: str, *, create_topic: bool = False) -> None:
        self._open_sink = open_sink
        self._topic = topic
        self._create_topic = create_topic
        self._sink: Sink | None = None
        self._queue: deque[_AppendRequest] = deque()
        self._records = self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def offer(self, values: Sequence[bytes], keys: Sequence[bytes]) -> "Future[None] | None":
        """Return a future that is done when every value is durable, or None where the queue is full.

        Cancel the future to give up, which works until the append begins. Raise UnavailableError after `close`.
        """
        request = _AppendRequest(values, keys, sum(map(len, values)))
        with self._changed:
            if self._closed:
                msg = f"found the server to be stopping, expected it to append to {self._topic}; ask another one"
                raise UnavailableError(msg)
            if self._is_full(request):
                return None
            self._queue.append(request)
            self._records += len(values)
            self._bytes += request.size
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"append-{self._topic}", daemon=True)
                self._thread.start()
            self._changed.notify()
        return request.done

    def close(self, *, timeout_s: float = 30.0) -> None:
        """Append what waits, and release the sink."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _is_full(self, request: _AppendRequest) -> bool:
        exceeds_bounds = (
            self._records + len(request.values) > MAX_QUEUED_RECORDS or self._bytes + request.size > MAX_QUEUED_BYTES
        )
        return bool(self._queue) and exceeds_bounds

    def _run(self) -> None:
        while group := self._next_group():
            # From here on a request can no longer be cancelled.
            active = [one for one in group if one.done.set_running_or_notify_cancel()]
            if active:
                self._append(active)
        self._close_sink()

    def _next_group(self) -> list[_AppendRequest]:
        """Wait for requests and return as many as are appended at once; return none when closed and empty."""
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            group: list[_AppendRequest] = []
            records = size = 0
            while self._queue and (not group or (records < MAX_RECORDS_PER_APPEND and size < MAX_BYTES_PER_APPEND)):
                group.append(self._queue.popleft())
                records += len(group[-1].values)
                size += group[-1].size
            self._records -= records
            self._bytes -= size
            return group

    def _append(self, group: Sequence[_AppendRequest]) -> None:
        """Append all at once; where that is refused, append each half by itself, so that only bad records fail."""
        try:
            values = [value for one in group for value in one.values]
            self._connected_sink().append(self._topic, values, keys=[key for one in group for key in one.keys])
        except HeadraceError as error:
            self._close_sink()
            if len(group) > 1 and not isinstance(error, UnavailableError):
                for half in (group[: len(group) // 2], group[len(group) // 2 :]):
                    self._append(half)
                return
            _log.warning("append_failed", topic=self._topic, requests=len(group), error=str(error))
            _fail_all(group, error)
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for
            self._close_sink()
            _fail_all(group, error)
        else:
            for one in group:
                one.done.set_result(None)

    def _connected_sink(self) -> Sink:
        if self._sink is None:
            self._sink = self._open_sink()
            if self._create_topic:
                self._sink.create(self._topic, partitions=1)
        return self._sink

    def _close_sink(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            with suppress(HeadraceError):
                sink.close()


def _fail_all(group: Sequence[_AppendRequest], error: Exception) -> None:
    for one in group:
        one.done.set_exception(error)
