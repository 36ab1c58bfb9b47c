"""Measure predictions over HTTP: beside a bare route and other servers, many rows at once, and their freshness."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TypeAlias

from benchmarks import freshness, rivals
from benchmarks.claims import Claim, of_medians
from benchmarks.load import Loaded, load
from benchmarks.served import Servable, Served, bare_server, grown, headrace_server, learned, learning, linear

CONNECTIONS = 8
ROWS = 1000
PUBLISHED = 7_000_000

Contention: TypeAlias = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Laps:
    """The number of laps and the seconds of each."""

    rounds: int
    seconds: float


def measure(events: int) -> list[Claim]:
    """Measure everything, with fewer and shorter laps if `events` is small."""
    laps = Laps(5, 4.0) if events > 100_000 else Laps(1, 1.0)
    claims: list[Claim] = []
    with _served(linear()) as served:
        claims += _beside_bare("learner idle", served, laps, nullcontext)
        claims += [_rows(served, laps)]
        claims += rivals.measure(served, rounds=laps.rounds, seconds=laps.seconds)
        claims += _beside_bare("learner at full speed", served, laps, lambda: learning(served, events=PUBLISHED))
    with _served(grown()) as served:
        claims += _beside_bare(
            "a forest of 10 trees reloaded",
            served,
            laps,
            lambda: learning(served, events=PUBLISHED // 30),
            at_least=None,
            slower=3.0,
        )
    return claims + freshness.measure(seconds=laps.seconds * laps.rounds)


@contextmanager
def _served(servable: Servable) -> Iterator[Served]:
    with TemporaryDirectory() as name, learned(Path(name), servable) as served:
        yield served


def _beside_bare(
    what: str, served: Served, laps: Laps, contention: Contention, *, at_least: float | None = 0.8, slower: float = 1.5
) -> list[Claim]:
    """Compare with the bare route in alternate laps, so that both meet the same machine."""
    with headrace_server(served) as ours, bare_server(served) as bare, contention():
        pairs = [(_lap(served, ours, laps), _lap(served, bare, laps)) for _ in range(laps.rounds)]
    told = ", ".join(f"{median(one.rate for one in side):,.0f}" for side in zip(*pairs, strict=True))
    return [
        of_medians(
            f"{what}: requests a second / bare route",
            [mine.rate / other.rate for mine, other in pairs],
            at_least=at_least,
            note=f"one worker, {CONNECTIONS} connections; requests a second, ours and bare: {told}",
        ),
        of_medians(
            f"{what}: p99 / bare route's",
            [mine.quantile(0.99) / other.quantile(0.99) for mine, other in pairs],
            at_most=slower,
            note=f"ours: {median(mine.quantile(0.99) for mine, _ in pairs) * 1000:.2f} ms",
        ),
    ]


def _rows(served: Served, laps: Laps) -> Claim:
    """Compare rows a second in requests of many rows with those in requests of one."""
    with headrace_server(served) as port:
        pairs = [(_lap(served, port, laps, rows=ROWS), _lap(served, port, laps)) for _ in range(laps.rounds)]
    return of_medians(
        f"{ROWS:,} rows a request: rows a second / single requests",
        [many.rate * ROWS / single.rate for many, single in pairs],
        at_least=10.0,
        note=f"{median(many.rate for many, _ in pairs) * ROWS:,.0f} rows a second",
    )


def _lap(served: Served, port: int, laps: Laps, *, rows: int = 0) -> Loaded:
    found = load(served.request(port, rows=rows), connections=CONNECTIONS, seconds=laps.seconds)
    if set(found.statuses) != {200}:
        msg = f"found statuses {dict(found.statuses)}, expected 200 only"
        raise RuntimeError(msg)
    return found
