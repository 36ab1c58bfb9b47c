"""What the scripted source promises to tests of resumption."""

import pytest

from service.domain.stream.position import Position
from service.errors import NotFoundError, PastEndError
from service.testing.scripted import CRASH, END, CrashError, Script, ScriptedSource
from tests.contract.streams import drain, values


def polled(source: ScriptedSource, limit: int = 10) -> list[bytes]:
    """Return the values of one poll."""
    return values(source.poll(timeout_s=0, limit=limit))


def test_a_crash_comes_after_what_precedes_it_and_once() -> None:
    """The poll that comes to a crash raises; a source that resumes there reads on without it."""
    script = Script([b"a", b"b", CRASH, b"c"])
    source = script.source()
    source.assign(Position({script.at: 0}))
    assert polled(source, 1) == [b"a"]
    assert polled(source) == [b"b"]
    with pytest.raises(CrashError, match="offset 2"):
        polled(source)
    assert values(drain(script.source(), ["scripted"], {script.at: 1})) == [b"b", b"c"]


def test_an_end_holds_until_a_source_resumes_there() -> None:
    """Reading up to the bounds stops at an end; assigning the end's offset goes on behind it."""
    script = Script([b"a", END, b"b", b"c"])
    source = script.source()
    runs = drain(source, ["scripted"])
    assert values(runs) == [b"a"]
    assert polled(source) == []
    assert values(drain(script.source(), ["scripted"], {script.at: 0})) == [b"a"]
    resumed = script.source()
    resumed.assign(Position({script.at: runs[-1].next_offset}))
    assert polled(resumed) == [b"b", b"c"]


def test_a_script_refuses_what_it_does_not_hold() -> None:
    """Another topic is unknown, and an offset behind the next end is past the end."""
    script = Script([b"a", END, b"b"])
    with pytest.raises(NotFoundError, match="other"):
        script.source().bounds(["other"])
    with pytest.raises(PastEndError):
        script.source().assign(Position({script.at: 2}))
