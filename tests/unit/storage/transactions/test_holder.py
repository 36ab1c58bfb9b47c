"""Holders of leases."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from service.storage.transactions.holder import Holder


@pytest.fixture
def child() -> "subprocess.Popen[bytes]":
    """Start a process that waits for its input to end."""
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def holder_of(pid: int) -> Holder:
    """Return the holder of that process."""
    status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    return replace(Holder.current(), pid=pid, started=status.rpartition(")")[2].split()[19])


def test_text_and_back() -> None:
    """A holder can be parsed from its text, and any other text is nobody's."""
    here = Holder.current(nonce="family")
    assert Holder.parse(str(here)) == here
    assert here.nonce == "family"
    for text in ("", "me", "a/b/c/d/e/f", "a/b/c/1/e", "a/b/c/1/e/f/g"):
        assert Holder.parse(text) is None


def test_two_of_one_process_differ() -> None:
    """Without a supervisor each holder has a nonce of its own."""
    assert Holder.current().nonce != Holder.current().nonce


def test_the_living_are_not_dead() -> None:
    """This process and its parent are not dead."""
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
    assert replace(Holder.current(), started="1").is_dead_here()


@pytest.mark.parametrize("where", ["host", "boot", "space"])
def test_who_cannot_be_seen_is_not_dead(where: str) -> None:
    """A holder on another host, another boot or in another container is not known to be dead."""
    elsewhere = replace(Holder.current(), pid=2**22 + 1, started="1", **{where: "elsewhere"})
    assert not elsewhere.is_dead_here()
