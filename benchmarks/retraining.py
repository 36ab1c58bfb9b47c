"""Measure how soon a retraining begins to learn, beside polars alone on the same rows, and how it slows the learner."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import beside, noisy
from benchmarks.claims import Claim, of_medians
from benchmarks.events import TOPIC, chunks, model
from benchmarks.labelled import LABELS
from benchmarks.laps import contestant
from tests.acceptance.harness import Deployment

ROUNDS = 5


def measure(events: int) -> list[Claim]:
    """Run laps in turn over one archive, after one lap each that warms up."""
    with TemporaryDirectory() as name, ExitStack() as stack:
        deployment = Deployment(Path(name), model={**model(), "labels": LABELS})
        _publish(deployment, TOPIC, noisy.events(events))
        _publish(deployment, LABELS, noisy.labels(events))
        deployment.command("archive", "--until-end", timeout_s=600)
        alone = stack.enter_context(contestant("polars_alone", folder=name))
        ours = stack.enter_context(contestant("retraining", folder=name, events=events))
        laps = [(alone.lap(), ours.lap()) for _ in range(ROUNDS + 1)][1:]
    return [
        of_medians("polars alone: read, join, sort", [base.seconds for base, _ in laps], unit="s"),
        of_medians("archive opened to first learn_one", [found.seconds for _, found in laps], unit="s"),
        of_medians(
            "archive opened to first learn_one / polars alone",
            [found.seconds / base.seconds for base, found in laps],
            at_most=2.0,
            note=f"{events:,} archived events, as many labels in a topic of their own; exclusions, guard, duplicates "
            "by id and by content, and a split by time included",
        ),
        beside.measure(max(events * 3 // 10, 20_000)),
    ]


def _publish(deployment: Deployment, topic: str, values: Iterator[bytes]) -> None:
    for chunk in chunks(values, size=20_000):
        deployment.publish(chunk, topic=topic)
