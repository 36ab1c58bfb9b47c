"""Measure how much memory a learner keeps early and late, and with fifty models together."""

import re
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.claims import Claim
from benchmarks.events import chunks, encoded_events, model
from benchmarks.laps import contestant
from tests.acceptance.harness import Deployment, metric, terminate, wait_until

MODELS = 50
MIB = 2**20


def measure(events: int) -> list[Claim]:
    """Compare five times `events` with half of that; then run the fifty models."""
    early, late = _resident(events // 2, events * 5)
    rss, pss = _fifty_models(max(events // 100, 1000))
    return [
        _single(f"resident after {events // 2:,} events", early, unit="MiB"),
        _single(f"resident after {events * 5:,} events", late, unit="MiB"),
        _single("late / early", late / early, at_most=1.05),
        _single(
            f"{MODELS} models in one `headrace run`, resident sizes added up", rss, unit="MiB", at_most=2 * 2**30 / MIB
        ),
        _single(f"{MODELS} models, shared pages counted once", pss, unit="MiB"),
    ]


def _resident(early: int, late: int) -> tuple[float, float]:
    """Return the MiB of a whole learner at both marks; its events are made in memory."""
    with TemporaryDirectory() as name:
        Deployment(Path(name), model=model(metrics=("Accuracy", "F1", "ROCAUC")))
        with contestant("endless", folder=name, marks=[early, late]) as found:
            sizes = found.lap().resident
    return sizes[0] / MIB, sizes[1] / MIB


def _fifty_models(events: int) -> tuple[float, float]:
    """Return the MiB of supervisor and learner together after every model has learned every event."""
    first, *others = [model(f"phishing-{number}") for number in range(MODELS)]
    with TemporaryDirectory() as name:
        deployment = Deployment(Path(name), model=first, others=others)
        for chunk in chunks(encoded_events(events)):
            deployment.publish(chunk)
        process = deployment.start("run")
        try:
            port = deployment.port()
            wait_until(
                lambda: (metric(port, "headrace_events_total", outcome="learned") or 0) >= events * MODELS,
                timeout_s=300,
            )
            pids = [process.pid, *_children(process.pid)]
            return _kibibytes(pids, "Rss") / 1024, _kibibytes(pids, "Pss") / 1024
        finally:
            terminate(process, timeout_s=60)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]


def _kibibytes(pids: Iterable[int], key: str) -> int:
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8") for pid in pids]
    return sum(int(size) for text in texts for size in re.findall(rf"^{key}: +(\d+) kB", text, re.MULTILINE))


def _single(name: str, value: float, **others: object) -> Claim:
    return Claim(name, value, value, value, **others)
