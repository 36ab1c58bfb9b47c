"""Contestants that read an archive whose labels must be joined: polars alone, and a retraining."""

import gc
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from benchmarks.events import TOPIC, river_model
from benchmarks.labelled import LABELS
from benchmarks.laps import Lap, Stopwatch
from service.bootstrap import open_app
from service.config import load_settings
from service.domain.specification.split import SplitSpec, WindowSpec
from service.learning.datasets.splits import split_data
from service.operations.training_data.load import load_training_data
from service.operations.training_data.window import WindowRequest


def polars_alone(*, folder: str) -> Iterator[Lap]:
    """Read events and labels, join them by id, and sort them by time."""
    archive = Path(folder) / "var" / "archive"
    while True:
        gc.collect()
        watch = Stopwatch()
        events = pl.scan_parquet(archive / TOPIC / "*" / "*.parquet").select("offset", "id_number", "ts", "weight", "x")
        labels = pl.scan_parquet(archive / LABELS / "*" / "*.parquet").select("id_number", "y", label_ts="ts")
        found = events.join(labels, on="id_number").sort("ts", "offset").collect()
        watch.stop()
        yield watch.lap(found.height, accuracy=0.0)


def retraining(*, folder: str, events: int) -> Iterator[Lap]:
    """Prepare a retraining up to its first `learn_one`.

    That takes opening the archive, the window, labels, guard, duplicates and the split.
    """
    with open_app(load_settings(Path(folder) / "headrace.yaml")) as app:
        spec = app.spec("phishing")
        while True:
            model = river_model()
            gc.collect()
            watch = Stopwatch()
            data = load_training_data(app.services, spec, WindowRequest(WindowSpec(events=events)))
            parts = split_data(data, SplitSpec(), seed=spec.seed, on_open=lambda: None)
            event = next(parts.train.events())
            model.learn_one(event.x, event.y)
            watch.stop()
            if len(data) != events:
                msg = f"every event of the work is new and has its label, found {data.counts}"
                raise RuntimeError(msg)
            yield watch.lap(len(data), accuracy=0.0)
