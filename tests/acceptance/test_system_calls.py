"""A trace of system calls: artifact fsync, rename, the registry's commit, the acknowledgement; in that order."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.harness import PHISHING, Deployment, phishing_events
from tests.services import kafka
from tests.services.presence import need

EVENTS, LIVES = 20_000, 2
"""Learned by one learner after the other: the last checkpoint of each is one that nothing can skip."""
OFFSET_COMMIT = 8
CALLS = "rename,fsync,fdatasync,sendto,pwrite64"
LINE = re.compile(r"(?P<thread>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<name>\w+)\()(?P<rest>.*)")


@dataclass
class Call:
    """One system call: its arguments as strace prints them, and the lines on which it began and ended."""

    name: str
    text: str
    began: int
    ended: int


@pytest.fixture
def strace() -> str:
    """The tracer, where it may trace."""
    found = shutil.which("strace") or ""
    need(None if found else "strace is not installed")
    tried = subprocess.run([found, "-f", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    need(None if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()[:200]}")
    return found


def traced(deployment: Deployment, strace: str) -> list[Call]:
    """The calls of a learner from its start until it has drained its stream."""
    path = deployment.folder / "trace"
    tracer = [strace, "-f", "--seccomp-bpf", "-y", "-x", "-s", "9000", "-e", f"trace={CALLS}", "-o", str(path)]
    done = subprocess.run(
        [*tracer, sys.executable, "-m", "service", "learn", "--until-end"],
        cwd=deployment.folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return parsed(path)


def parsed(path: Path) -> list[Call]:
    """The calls in the order in which they began; a call that another thread interrupted has two lines."""
    found: list[Call] = []
    open_calls: dict[str, Call] = {}
    for number, line in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines()):
        match = LINE.match(line)
        if match is None:
            continue
        if match["resumed"]:
            open_calls.pop(match["thread"]).ended = number
            continue
        call = Call(match["name"], match["rest"], number, number)
        found.append(call)
        if line.endswith("<unfinished ...>"):
            open_calls[match["thread"]] = call
    return found


def data(call: Call) -> bytes:
    """The bytes that a call wrote or sent."""
    quoted = re.search(r'"((?:[^"\\]|\\.)*)"', call.text)
    return quoted[1].encode("ascii").decode("unicode_escape").encode("latin-1") if quoted else b""


def offset_commits(call: Call) -> int:
    """How many of Kafka's OffsetCommit requests are in what was sent."""
    rest, found = data(call), 0
    while len(rest) > 6:
        size, kind = int.from_bytes(rest[:4]), int.from_bytes(rest[4:6])
        found += kind == OFFSET_COMMIT
        rest = rest[4 + size :]
    return found


def first(calls: list[Call], *, after: int, names: tuple[str, ...], words: str = "", content: bytes = b"") -> Call:
    """The first call that began after that line, of one of these names, on such a file, with such content."""
    for call in calls:
        if call.began > after and call.name in names and words in call.text and content in data(call):
            return call
    msg = f"found no {names} of {words or content!r} after line {after}"
    raise AssertionError(msg)


def stored_apart(calls: list[Call], digest: str) -> Call | None:
    """The rename that gave a large artifact its name, after checking that its bytes were durable before."""
    renames = [call for call in calls if call.name == "rename" and f'/{digest}"' in call.text]
    if not renames:
        return None
    aside = re.findall(r'"([^"]+)"', renames[0].text)[0]
    synced = [call for call in calls if call.name == "fsync" and f"<{aside}>" in call.text]
    assert len(renames) == len(synced) == 1
    assert synced[0].ended < renames[0].began, "the artifact had its name before it was durable"
    return renames[0]


def committed(calls: list[Call], digest: str) -> Call:
    """The sync that made the registry's commit of a checkpoint durable, after checking what precedes it."""
    written = first(calls, after=-1, names=("pwrite64",), words="headrace.db-wal", content=digest.encode())
    rename = stored_apart(calls, digest)
    if rename is not None:
        folder = first(calls, after=rename.ended, names=("fsync",), words=f"/artifacts/{digest[:2]}>")
        assert folder.ended < written.began, "the registry named the artifact before its name was durable"
    return first(calls, after=written.ended, names=("fsync", "fdatasync"), words="headrace.db-wal")


@pytest.mark.slow
def test_order_of_durability(tmp_path: Path, broker: kafka.Broker, topic: str, strace: str) -> None:
    """Each large artifact is synced, renamed, committed and only then acknowledged to the broker."""
    often = {"every": "1h", "events": 5000}
    model = {**PHISHING, "events": topic, "dedupe": {"events": EVENTS}, "checkpoint": often}
    deployment = Deployment(tmp_path / "traced", model, kafka={"bootstrap_servers": broker.bootstrap})
    apart, known = 0, 0
    for first in range(0, EVENTS, EVENTS // LIVES):
        deployment.publish(phishing_events(EVENTS // LIVES, first=first, long_ids=True))
        calls = traced(deployment, strace)
        digests = checkpoints(deployment)[known:]
        known += len(digests)
        apart += sum(stored_apart(calls, digest) is not None for digest in digests)
        require_order(calls, [committed(calls, digest) for digest in digests])
    assert apart >= LIVES, "hardly an artifact was too large to live in the transaction"


def require_order(calls: list[Call], commits: list[Call]) -> None:
    """Each acknowledgement comes after a commit of its own, and the last one after the last."""
    acknowledged = [call for call in calls if call.name == "sendto" for _ in range(offset_commits(call))]
    assert acknowledged, "nothing was acknowledged"
    for count, call in enumerate(acknowledged, start=1):
        durable = sum(commit.ended < call.began for commit in commits)
        assert durable >= count, "a position was acknowledged before its commit was durable"
    assert acknowledged[-1].began > commits[-1].ended, "the last commit was not acknowledged"


def checkpoints(deployment: Deployment) -> list[str]:
    """The digests of what the learner has committed, oldest first."""
    with deployment.app() as app:
        champion = app.registry.models.get("phishing").champion
        assert champion is not None
        found = app.registry.checkpoints.newest_first(champion)
    return [one.digest for one in reversed(found) if one.sequence > 0]
