"""Measure servers under overload, and while the champion changes."""

from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from river import datasets

from benchmarks.claims import Claim, of_largest
from benchmarks.events import TOPIC, encoded_events, model
from benchmarks.load import Loaded, Request, load
from benchmarks.served import grown, headrace_server, learned
from tests.acceptance.following import Client, newest_change, promote_another, two_replicas, wait_for_version
from tests.acceptance.harness import Deployment

AT_ONCE, MANY, ITEMS = 8, 40, 100
LONG_S, USUAL_S = 60.0, 5.0
CHANGES = 5


def measure(events: int) -> list[Claim]:
    """Measure a minute of overload, and promotions and rollbacks; less if `events` is small."""
    long = events > 100_000
    return [*_flooded(LONG_S if long else USUAL_S), *_followed(CHANGES if long else 1)]


def _flooded(seconds: float) -> list[Claim]:
    """Flood a forest, which takes milliseconds per request, by clients that retry as soon as they are refused."""
    with TemporaryDirectory() as name, learned(Path(name), grown()) as served:
        served.deployment.server = {"concurrency": AT_ONCE}
        served.deployment.configure()
        with headrace_server(served) as port:
            usual = _asked(port, AT_ONCE, USUAL_S)
            flooded = _asked(port, MANY, seconds)
            after = _asked(port, AT_ONCE, USUAL_S)
    asked = sum(flooded.statuses.values()) / seconds / usual.rate
    told = f"{seconds:.0f} s of {asked:.0f} times the sustainable rate; statuses {dict(flooded.statuses)}"
    return [
        _single("overload: p99 of what is accepted / usual", flooded, usual, at_most=2.0, note=told),
        Claim("overload: answered / usual", *(3 * [flooded.rate / usual.rate]), at_least=0.5),
        _single("after it: p99 / usual", after, usual, at_most=2.0),
    ]


def _single(name: str, one: Loaded, other: Loaded, *, at_most: float, note: str = "") -> Claim:
    ratio = one.quantile(0.99) / other.quantile(0.99)
    return Claim(name, ratio, ratio, ratio, at_most=at_most, note=note)


def _asked(port: int, connections: int, seconds: float) -> Loaded:
    xs = [x for x, _ in islice(datasets.Phishing(), ITEMS)]
    return load(Request(port, "/invocations", msgspec.json.encode(xs)), connections=connections, seconds=seconds)


def _followed(changes: int) -> list[Claim]:
    """Query two replicas on two connections each without a pause, while the champion changes."""
    with TemporaryDirectory() as name:
        found = Deployment(Path(name), {**model(), "promote": {"mode": "manual"}})
        found.publish(list(encoded_events(1000)), topic=TOPIC)
        with two_replicas(found, learned=1000) as clients:
            promote_another(found)
            promoted = _first_answers(found, clients, "promote")
            back = [_rolled_back(found, clients) for _ in range(changes)]
    failed = sum(status != 200 for client in clients for _, status, _ in client.seen)
    asked = sum(len(client.seen) for client in clients)
    note = f"two replicas, {asked:,} requests meanwhile, {failed} failed"
    return [
        of_largest("promotion to the last replica's first answer", [promoted], unit="s", at_most=2.0, note=note),
        of_largest("rollback to the last replica's first answer", back, unit="s", at_most=2.0),
        Claim("requests that failed meanwhile", failed, failed, failed, at_most=0.0),
    ]


def _rolled_back(found: Deployment, clients: list[Client]) -> float:
    found.command("model", "rollback", "phishing", "--to", "1", "--wait")
    return _first_answers(found, clients, "rollback")


def _first_answers(found: Deployment, clients: list[Client], action: str) -> float:
    """Return the seconds from a change's commit until every client got a response from the new champion."""
    at, version = newest_change(found, action)
    return wait_for_version(clients, version, timeout_s=60) - at
