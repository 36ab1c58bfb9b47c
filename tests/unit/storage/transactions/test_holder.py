"""Who holds a lease."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from service.storage.transactions.holder import Holder


@pytest.fixture
def child() -> "subprocess.Popen[bytes]":
    """A process that waits for its input to end."""
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def holder_of(pid: int) -> Holder:
    """The holder that this process would be."""
    status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    return replace(Holder.current(), pid=pid, start_time=status.rpartition(")")[2].split()[19])


def test_text_and_back() -> None:
    """A holder survives its text, and any other text is nobody's."""
    here = Holder.current(nonce="family")
    assert Holder.parse(str(here)) == here
    assert here.nonce == "family"
    for text in ("", "me", "a/b/c/d/e/f", "a/b/c/1/e", "a/b/c/1/e/f/g"):
        assert Holder.parse(text) is None


def test_two_of_one_process_differ() -> None:
    """Without a supervisor each has a mark of its own."""
    assert Holder.current().nonce != Holder.current().nonce


def test_the_living_are_not_dead() -> None:
    """This process and its parent live."""
    assert not Holder.current().is_dead_here()
    assert not holder_of(os.getppid()).is_dead_here()


def test_the_dead_are_dead(child: "subprocess.Popen[bytes]") -> None:
    """A process is alive, then a zombie, which counts as dead, then gone."""
    holder = holder_of(child.pid)
    assert not holder.is_dead_here()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert holder.is_dead_here()
    child.communicate()
    assert holder.is_dead_here()


def test_a_number_given_again_is_another_process() -> None:
    """A process of the same number that started at another time is not the holder."""
    assert replace(Holder.current(), start_time="1").is_dead_here()


@pytest.mark.parametrize("where", ["host", "boot", "pid_namespace"])
def test_who_cannot_be_seen_is_not_dead(where: str) -> None:
    """Of another host, another boot or another container nothing is known."""
    elsewhere = replace(Holder.current(), pid=2**22 + 1, start_time="1", **{where: "elsewhere"})
    assert not elsewhere.is_dead_here()
