"""How soon a retraining begins to learn, beside what polars alone needs to read, join and sort the same rows."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import msgspec
from river import datasets

from benchmarks.claims import Claim, of_medians
from benchmarks.events import TOPIC, chunks, model
from benchmarks.labelled import LABELS
from benchmarks.laps import contestant
from tests.acceptance.harness import Deployment

ROUNDS = 5


def measure(events: int) -> list[Claim]:
    """Laps in turn over one archive, each after one that warms up."""
    with TemporaryDirectory() as name, ExitStack() as stack:
        deployment = Deployment(Path(name), model={**model(), "labels": LABELS})
        _publish(deployment, TOPIC, _events(events))
        _publish(deployment, LABELS, _labels(events))
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
    ]


def _events(count: int) -> Iterator[bytes]:
    """Phishing's rows over and over, each a little different, so that none is a duplicate."""
    chance = Random(1)
    rows = islice(cycle([x for x, _ in datasets.Phishing()]), count)
    for number, x in enumerate(rows):
        noisy = {name: value + round(chance.gauss(0, 0.1), 6) for name, value in x.items()}
        yield msgspec.json.encode({"id": number, "x": noisy})


def _labels(count: int) -> Iterator[bytes]:
    labels = islice(cycle([y for _, y in datasets.Phishing()]), count)
    return (msgspec.json.encode({"id": number, "y": y}) for number, y in enumerate(labels))


def _publish(deployment: Deployment, topic: str, values: Iterator[bytes]) -> None:
    for chunk in chunks(values, size=20_000):
        deployment.publish(chunk, topic=topic)
