"""Measure what labels that come later cost, and whether the learner keeps up with them for long."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.claims import Claim, of_medians
from benchmarks.events import TOPIC, model
from benchmarks.labelled import LABELS
from benchmarks.laps import Lap, contestant
from tests.acceptance.harness import Deployment
from tests.services.postgres import Postgres

ROUNDS = 5
WITHIN = 2000
RATE = 5000.0
WAITING, SECONDS = 1_000_000, 600
MIB = 2**20


def measure(events: int) -> list[Claim]:
    """Run a learner per database at once, for ten minutes at full size or proportionally less."""
    share = min(events / 1_000_000, 1.0)
    claims = [_within(max(int(100_000 * share), 5 * WITHIN))]
    lead, seconds = int(WAITING * share), max(SECONDS * share, 5.0)
    with ExitStack() as stack:
        postgres = Postgres()
        stack.callback(postgres.stop)
        postgres.start()
        folders = [stack.enter_context(TemporaryDirectory()) for _ in range(2)]
        for folder, url in zip(folders, (None, postgres.database()), strict=True):
            Deployment(Path(folder), model={**model(), "events": TOPIC, "labels": LABELS}, registry_url=url)
        pool = stack.enter_context(ThreadPoolExecutor(2))
        at_once = partial(_sustained, lead=lead, seconds=seconds)
        for found in pool.map(at_once, ("SQLite", "PostgreSQL"), folders):
            claims += found
    return claims


def _within(events: int) -> Claim:
    """Compare whole learners over streams made in memory, with checkpoints every second."""
    pairs = [(_lap(events, labels=False), _lap(events, labels=True)) for _ in range(ROUNDS)]
    return of_medians(
        "labels within a checkpoint interval / labels with their events",
        [late.rate / plain.rate for plain, late in pairs],
        at_least=0.7,
        note=f"labels come {WITHIN:,} events later in a topic of their own",
    )


def _lap(events: int, *, labels: bool) -> Lap:
    with TemporaryDirectory() as name:
        made = model()
        Deployment(Path(name), model={**made, "labels": LABELS} if labels else made)
        with contestant("labelled", events=events, folder=name, labels=labels, lead=WITHIN) as found:
            return found.lap()


def _sustained(name: str, folder: str, *, lead: int, seconds: float) -> list[Claim]:
    with contestant("sustained", folder=folder, lead=lead, rate=RATE, seconds=seconds) as found:
        lap = found.lap()
    early, late, behind = lap.resident
    waiting = f"{name}, {lead:,} events waiting"
    return [
        _single(f"{waiting}: labels a second for {seconds:.0f} s", lap.rate, unit="/s", at_least=RATE * 0.99),
        _single(f"{waiting}: seconds behind at the end", behind / RATE, unit="s", at_most=3.0),
        _single(f"{waiting}: resident at first", early / MIB, unit="MiB"),
        _single(f"{waiting}: resident late / early", late / early, at_most=1.05),
    ]


def _single(name: str, value: float, **others: object) -> Claim:
    return Claim(name, value, value, value, **others)
