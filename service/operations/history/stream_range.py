"""Reads a range of offsets of one partition from the stream."""

import time
from collections.abc import Iterator

from service.domain.stream.events import Records, TopicPartition
from service.domain.stream.position import Position
from service.errors import UnavailableError
from service.ports.stream import Source

SILENCE_TIMEOUT_S = 30.0
POLL_LIMIT = 4096


def read_stream_range(source: Source, at: TopicPartition, first: int, last: int) -> Iterator[Records]:
    """Yield the records from `first` up to but not including `last`.

    Raise UnavailableError if the stream sends nothing for `SILENCE_TIMEOUT_S` seconds.
    """
    source.assign(Position({at: first}))
    deadline_s = time.monotonic() + SILENCE_TIMEOUT_S
    while first < last:
        for run in source.poll(timeout_s=0.5, limit=POLL_LIMIT):
            first, deadline_s = run.next_offset, time.monotonic() + SILENCE_TIMEOUT_S
            count = sum(offset < last for offset in run.offsets)
            yield Records(at, run.offsets[:count], run.timestamps[:count], run.values[:count], min(first, last))
            if first >= last:
                return
        if time.monotonic() > deadline_s:
            msg = (
                f"found no answer from the stream for {SILENCE_TIMEOUT_S:g} s "
                f"at offset {first} of {at.topic}[{at.partition}]"
            )
            raise UnavailableError(msg)
