"""Measure events over HTTP and logged predictions: how many requests share a sync of the embedded log."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import msgspec
from river import datasets

from benchmarks.claims import Claim, of_medians
from benchmarks.load import Request, load
from benchmarks.served import headrace_server, learned, linear

CONNECTIONS = 32
RECORDS = 100


def measure(events: int) -> list[Claim]:
    """Measure one client and many, records in tens and hundreds, and predictions with and without the log."""
    rounds, seconds = (5, 4.0) if events > 100_000 else (1, 1.0)
    found: dict[str, list[float]] = {}
    spec = {"labels": "benchmark.labels", "log_predictions": True}
    with TemporaryDirectory() as name:
        servable = linear()
        servable = replace(servable, spec={**servable.spec, **spec})
        with learned(Path(name), servable) as served, headrace_server(served) as port:
            for _ in range(rounds):
                for what, request, connections in _asked(port, str(servable.spec["name"])):
                    found.setdefault(what, []).append(_rate(request, connections, seconds))
    return _claims(found)


def _asked(port: int, name: str) -> list[tuple[str, Request, int]]:
    x = next(iter(datasets.Phishing()))[0]
    one, many = {"id": "a", "x": x}, [{"id": number, "x": x} for number in range(RECORDS)]
    events, predictions = f"/models/{name}/events", f"/models/{name}/invocations"
    return [
        ("lone", Request(port, events, msgspec.json.encode(one)), 1),
        ("together", Request(port, events, msgspec.json.encode(one)), CONNECTIONS),
        ("hundreds", Request(port, events, msgspec.json.encode(many)), CONNECTIONS),
        ("logged", Request(port, predictions, msgspec.json.encode(one)), CONNECTIONS),
        ("unlogged", Request(port, predictions, msgspec.json.encode(x)), CONNECTIONS),
    ]


def _rate(request: Request, connections: int, seconds: float) -> float:
    """Return the responses a second."""
    found = load(request, connections=connections, seconds=seconds)
    if not set(found.statuses) <= {200, 202}:
        msg = f"found statuses {dict(found.statuses)}, expected 200 and 202 only"
        raise RuntimeError(msg)
    return sum(found.statuses.values()) / found.seconds


def _claims(found: dict[str, list[float]]) -> list[Claim]:
    rates = {what: f"{median(values):,.0f}" for what, values in found.items()}
    return [
        of_medians(
            f"{CONNECTIONS} clients at once / a lone one: events a second",
            _ratios(found["together"], found["lone"]),
            at_least=2.0,
            note=f"a request an event, durable before its answer: {rates['together']} and {rates['lone']}",
        ),
        of_medians(
            f"{RECORDS} records a request / single ones: events a second",
            [RECORDS * one for one in _ratios(found["hundreds"], found["together"])],
            at_least=10.0,
            note=f"{median(found['hundreds']) * RECORDS:,.0f} events a second",
        ),
        of_medians(
            "predictions that are logged / that are not: requests a second",
            _ratios(found["logged"], found["unlogged"]),
            at_least=0.5,
            note=f"durable before they are answered, {CONNECTIONS} clients: {rates['logged']} and {rates['unlogged']}",
        ),
    ]


def _ratios(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ones, others, strict=True)]
