"""Measure learning per event from memory, beside river's bare loop."""

from contextlib import ExitStack

from benchmarks.claims import Claim, of_medians
from benchmarks.laps import contestant

LAP = 20_000


def measure(events: int) -> list[Claim]:
    """Run short laps in turn, so that other load on the machine slows all of them alike."""
    lap = min(LAP, events)
    with ExitStack() as stack:
        bare = stack.enter_context(contestant("bare", events=lap))
        one = stack.enter_context(contestant("in_memory", events=lap, metrics=["Accuracy"]))
        three = stack.enter_context(contestant("in_memory", events=lap, metrics=["Accuracy", "F1", "ROCAUC"]))
        rounds = [(bare.lap(), one.lap(), three.lap()) for _ in range(events // lap)]
    base = [first.rate for first, _, _ in rounds]
    return [
        of_medians("bare loop", base, unit="events/s"),
        of_medians(
            "in memory, Accuracy / bare loop",
            [found.rate / first.rate for first, found, _ in rounds],
            at_least=0.85,
        ),
        of_medians(
            "in memory, Accuracy + F1 + ROCAUC / bare loop",
            [found.rate / first.rate for first, _, found in rounds],
            at_least=0.6,
        ),
    ]
