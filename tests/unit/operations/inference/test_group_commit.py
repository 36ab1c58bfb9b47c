"""Group commit: concurrent requests share one append, and each has its own result."""

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from service.errors import ConfigurationError, UnavailableError
from service.operations.inference import group_commit
from service.operations.inference.group_commit import GroupCommitAppender
from service.stream.log.source import LogSink


class Gated(LogSink):
    """A log whose appends wait until the gate opens, or raise the next of `failures`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.groups: list[list[bytes]] = []
        self.failures: list[Exception] = []
        self.closed = 0

    def append(
        self,
        topic: str,
        values: Sequence[bytes],
        *,
        keys: Sequence[bytes] | None = None,
        timestamps: Sequence[int] | None = None,
    ) -> None:
        """Append when the gate is open."""
        self.begun.set()
        self.gate.wait(10)
        self.groups.append(list(values))
        if b"poison" in values:
            msg = "found a poisonous record"
            raise ConfigurationError(msg)
        if self.failures:
            raise self.failures.pop()
        super().append(topic, values, keys=keys, timestamps=timestamps)

    def close(self) -> None:
        """Count the calls."""
        self.closed += 1


def asked(appender: GroupCommitAppender, *values: bytes) -> "group_commit.Future[None]":
    """Return the future of an offer that was accepted."""
    found = appender.offer(values, [b"k"] * len(values))
    assert found is not None
    return found


def gated(tmp_path: Path) -> tuple[Gated, GroupCommitAppender]:
    """Return a sink and its appender, whose first append is under way and waits."""
    sink = Gated(tmp_path / "log.db")
    appender = GroupCommitAppender(lambda: sink, "t", create_topic=True)
    asked(appender, b"first")
    sink.begun.wait(10)
    return sink, appender


def test_what_comes_meanwhile_is_appended_at_once(tmp_path: Path) -> None:
    """Requests that arrive during an append form one group, in their order, and every one of them completes."""
    sink, appender = gated(tmp_path)
    later = [asked(appender, b"%d" % n, b"%d again" % n) for n in range(5)]
    assert not any(one.done() for one in later)
    sink.gate.set()
    for one in later:
        one.result(10)
    assert sink.groups == [[b"first"], [part for n in range(5) for part in (b"%d" % n, b"%d again" % n)]]
    appender.close()
    assert sink.closed == 1


def test_too_much_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An offer is refused while the queue is full, and accepted when there is room again."""
    monkeypatch.setattr(group_commit, "MAX_QUEUED_RECORDS", 3)
    sink, appender = gated(tmp_path)
    last = asked(appender, b"1", b"2", b"3")
    assert appender.offer([b"4"], [b"k"]) is None
    sink.gate.set()
    last.result(10)
    asked(appender, *[b"%d" % n for n in range(10)]).result(10)
    appender.close()


def test_an_outage_is_told_to_all_that_waited_and_the_sink_opened_anew(tmp_path: Path) -> None:
    """An outage fails the requests that wait, and the next append opens a new sink."""
    sinks: list[Gated] = []

    def opened() -> Gated:
        sinks.append(Gated(tmp_path / "log.db"))
        sinks[-1].gate.set()
        if len(sinks) == 1:
            sinks[-1].failures.append(UnavailableError("no broker"))
        return sinks[-1]

    appender = GroupCommitAppender(opened, "t", create_topic=True)
    with pytest.raises(UnavailableError, match="no broker"):
        asked(appender, b"1").result(10)
    asked(appender, b"1").result(10)
    assert [one.groups for one in sinks] == [[[b"1"]], [[b"1"]]]
    assert sinks[0].closed == 1
    appender.close()


def test_a_record_that_cannot_be_appended_harms_no_other_request(tmp_path: Path) -> None:
    """Only the request with the bad record fails; the others of its group are appended."""
    sink, appender = gated(tmp_path)
    good, bad, fine = asked(appender, b"1"), asked(appender, b"poison"), asked(appender, b"2")
    sink.gate.set()
    good.result(10)
    fine.result(10)
    with pytest.raises(ConfigurationError, match="poisonous"):
        bad.result(10)
    appender.close()


def test_who_has_given_up_waiting_appends_nothing(tmp_path: Path) -> None:
    """A request that is cancelled before its append begins is not appended."""
    sink, appender = gated(tmp_path)
    given_up, other = asked(appender, b"1"), asked(appender, b"2")
    assert given_up.cancel()
    sink.gate.set()
    other.result(10)
    with pytest.raises(CancelledError):
        given_up.result(0)
    assert sink.groups == [[b"first"], [b"2"]]
    appender.close()


def test_closing_appends_what_waits_and_takes_no_more(tmp_path: Path) -> None:
    """Closing appends everything that was accepted, and refuses further offers."""
    sink, appender = gated(tmp_path)
    waiting = asked(appender, b"1")
    threading.Timer(0.1, sink.gate.set).start()
    appender.close()
    assert waiting.done()
    with pytest.raises(UnavailableError, match="stopping"):
        appender.offer([b"2"], [b"k"])
