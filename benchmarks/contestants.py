"""The programs that are compared; each runs alone in a process of its own and prints each lap as JSON."""

import gc
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry
from river import drift, metrics

from benchmarks.endless import EndlessSource
from benchmarks.events import CHUNK, TOPIC, encoded_events, model, river_model
from benchmarks.label_contestants import labelled, sustained
from benchmarks.laps import Lap, Stopwatch
from benchmarks.machine import resident_bytes
from benchmarks.retraining_contestants import polars_alone, retraining
from service.bootstrap import open_app
from service.bootstrap.wiring import build_estimator
from service.cli.context import set_up_logging
from service.config import load_settings
from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.registry.registry import ChangeOrigin
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Records, TopicPartition
from service.domain.stream.position import Position
from service.learning.learner.learner import Learner
from service.metrics.learner import PrometheusTelemetry
from service.operations.learning_loop.worker import LearnOptions
from service.operations.replay.plan import RollbackOptions, plan_rollback, register_replay
from service.operations.replay.run import run_replay
from service.operations.states.resolve import resolve_state
from service.ports.stream import Source
from service.stream.decoding.factory import make_decoder
from service.testing.services import with_parts


def bare(*, events: int) -> Iterator[Lap]:
    """Run river by itself: predict, accuracy, ADWIN and learn, on dictionaries decoded before the clock starts."""
    estimator, accuracy, adwin = river_model(), metrics.Accuracy(), drift.ADWIN()
    for number in count():
        found = map(msgspec.json.decode, encoded_events(events, first=number * events))
        rows = [(event["x"], event["y"]) for event in found]
        gc.collect()
        watch = Stopwatch()
        for x, y in rows:
            prediction = estimator.predict_one(x)
            accuracy.update(y, prediction)
            adwin.update(prediction != y)
            estimator.learn_one(x, y)
        watch.stop()
        yield watch.lap(events, accuracy=accuracy.get())


def in_memory(*, events: int, metrics: list[str]) -> Iterator[Lap]:
    """Run the learner without stream or registry: decode, guard, deduplicate, learn; serialize once a lap."""
    spec = ModelSpec.model_validate(model(metrics=tuple(metrics)))
    learner = Learner(spec, Learner.new(spec, build_estimator(spec)[0]))
    decoder, at = make_decoder(spec), TopicPartition(TOPIC, 0)
    for number in count():
        first, now_ms = number * events, int(time.time() * 1000)
        values = list(encoded_events(events, first=first))
        gc.collect()
        before, watch = learner.counts["learned"], Stopwatch()
        for start in range(0, events, CHUNK):
            run = values[start : start + CHUNK]
            offsets = range(first + start, first + start + len(run))
            learner.learn(decoder.decode(Records(at, offsets, [now_ms] * len(run), run, offsets.stop)))
        learner.state()
        learner.take_uncommitted()
        report = learner.report()
        watch.stop()
        yield watch.lap(learner.counts["learned"] - before, accuracy=report["cumulative"]["Accuracy"])


class _TimedSource:
    """A source that starts the watch when it is assigned a position."""

    def __init__(self, source: Source, watch: Stopwatch) -> None:
        self._source = source
        self._watch = watch

    def assign(self, position: Position) -> None:
        """Start the watch, and assign the position to the source."""
        self._watch.start()
        self._source.assign(position)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


class _Finish(PrometheusTelemetry):
    """Telemetry that stops the learner after `events` events, and the watch at the last commit."""

    def __init__(self, events: int, watch: Stopwatch, stop: threading.Event) -> None:
        super().__init__(CollectorRegistry())
        self.learned = 0
        self.accuracy = 0.0
        self._left, self._watch, self._stop = events, watch, stop

    def batch_learned(self, model: str, counts: Mapping[str, int], seconds: float) -> None:
        """Count what was learned, and stop the learner at the end."""
        super().batch_learned(model, counts, seconds)
        self.learned += counts["learned"]
        if counts["dead"] or counts["duplicate"]:
            msg = f"every event of the work is good and new, found {dict(counts)}"
            raise RuntimeError(msg)
        if self.learned >= self._left:
            self._stop.set()

    def checkpoint_committed(self, model: str, seconds: float, *, size_bytes: int) -> None:
        """Stop the watch; the last commit decides."""
        super().checkpoint_committed(model, seconds, size_bytes=size_bytes)
        self._watch.stop()

    def checkpoint_metrics(self, model: str, metrics: CheckpointMetrics, **others: Any) -> None:
        """Keep the accuracy."""
        super().checkpoint_metrics(model, metrics, **others)
        self.accuracy = metrics.cumulative["Accuracy"]


class _Weigh(_Finish):
    """Telemetry that samples the resident size before each mark, which is a number of learned events."""

    def __init__(self, marks: list[int], watch: Stopwatch, stop: threading.Event) -> None:
        super().__init__(marks[-1], watch, stop)
        self._samples: dict[int, list[int]] = {mark: [] for mark in marks}

    def batch_learned(self, model: str, counts: Mapping[str, int], seconds: float) -> None:
        """Sample the resident size if this batch lies shortly before a mark.

        The span before each mark is a tenth of the earliest mark's events.
        """
        super().batch_learned(model, counts, seconds)
        width = min(self._samples) // 10
        for mark, samples in self._samples.items():
            if mark - width < self.learned <= mark:
                samples.append(resident_bytes())

    def resident(self) -> list[float]:
        """Return the median resident size for each mark, in bytes."""
        return [median(samples) for samples in self._samples.values()]


def headrace(*, events: int, folder: str) -> Iterator[Lap]:
    """Run the whole learner, from its first look at the stream to its last durable commit."""
    settings = load_settings(Path(folder) / "headrace.yaml")
    set_up_logging(settings, level="warning")
    batch = settings.models[0].learn.batch
    watch, stop = Stopwatch(), threading.Event()
    telemetry = _Finish(events - events % batch, watch, stop)
    with open_app(settings, telemetry=telemetry) as app:
        host = app.worker([], LearnOptions(), stop=stop, nonce="benchmark")
        host.services = with_parts(host.services, source=lambda group: _TimedSource(app.source(group), watch))
        host.run()
    yield watch.lap(telemetry.learned, accuracy=telemetry.accuracy)


def endless(*, folder: str, marks: list[int]) -> Iterator[Lap]:
    """Run the whole learner on events made in memory; a lap has its resident size at each mark."""
    settings = load_settings(Path(folder) / "headrace.yaml")
    set_up_logging(settings, level="warning")
    watch, stop = Stopwatch(), threading.Event()
    telemetry = _Weigh(marks, watch, stop)
    with open_app(settings, telemetry=telemetry) as app:
        host = app.worker([], LearnOptions(), stop=stop, nonce="benchmark")
        host.services = with_parts(host.services, source=lambda _group: EndlessSource(TOPIC))
        host.run()
    yield replace(watch.lap(telemetry.learned, accuracy=telemetry.accuracy), resident=telemetry.resident())


def replayed(*, events: int, folder: str) -> Iterator[Lap]:
    """Replay a whole model from its first version up to its take-over, with journal and checkpoints."""
    settings = load_settings(Path(folder) / "headrace.yaml")
    set_up_logging(settings, level="warning")
    with open_app(settings) as app:
        services = replace(app.services, holder=f"{app.services.holder}-replaying")
        while True:
            first = resolve_state(services, "phishing", version_or_alias=1, at=None)
            lineage = register_replay(
                services,
                plan_rollback(services, "phishing", RollbackOptions(start_state=first)),
                origin=ChangeOrigin("benchmark"),
            )
            gc.collect()
            watch = Stopwatch()
            run_replay(services, lineage, stop=threading.Event())
            watch.stop()
            newest = services.registry.checkpoints.newest_first(lineage.id)[0]
            if newest.learned != events:
                msg = f"a replay learns all {events} events, found {newest.learned}"
                raise RuntimeError(msg)
            yield watch.lap(events, accuracy=newest.metrics.cumulative["Accuracy"])


def archiver(*, events: int, folder: str) -> Iterator[Lap]:
    """Run the whole archiver, from its first look at the stream to its last acknowledgement."""
    settings = load_settings(Path(folder) / "headrace.yaml")
    set_up_logging(settings, level="warning")
    watch, stop = Stopwatch(), threading.Event()
    with open_app(settings) as app:
        found = app.archiver(stop=stop, nonce="benchmark", until_end=True, wait_for_lease=False)
        found.services = with_parts(found.services, source=lambda group: _TimedSource(app.source(group), watch))
        found.run()
        watch.stop()
        archived = sum(row.records for row in app.registry.archives.list())
    if archived != events:
        msg = f"archived {archived} events, expected {events}"
        raise RuntimeError(msg)
    yield watch.lap(events, accuracy=0.0)


def archive_reader(*, events: int, folder: str) -> Iterator[Lap]:
    """Read every archived event as a replay gets it."""
    settings = load_settings(Path(folder) / "headrace.yaml")
    with open_app(settings) as app:
        archive = app.services.streams.archive(settings.models[0])
        watch, read = Stopwatch(), 0
        for at, bounds in archive.bounds([TOPIC]).items():
            read += sum(len(decoded.events) for decoded in archive.read(at, bounds.start, bounds.end))
        watch.stop()
    if read != events:
        msg = f"read {read} events, expected {events}"
        raise RuntimeError(msg)
    yield watch.lap(events, accuracy=0.0)


def naive(*, events: int, bootstrap: str, topic: str) -> Iterator[Lap]:
    """Run what one writes first: kafka-python without its extra, `json` and river; nothing survives a crash."""
    sys.modules["crc32c"] = None  # without its extra, kafka-python computes checksums in Python
    from kafka import KafkaConsumer  # noqa: PLC0415 - after the extra was hidden from it
    from kafka.record import util  # noqa: PLC0415 - as above

    if util.crc32c_c is not None:
        msg = "kafka-python found its extra in spite of all; the naive loop would not be what a default install is"
        raise RuntimeError(msg)
    estimator, accuracy = river_model(), metrics.Accuracy()
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    watch = Stopwatch()
    for learned, record in enumerate(consumer, start=1):
        event = json.loads(record.value)
        accuracy.update(event["y"], estimator.predict_one(event["x"]))
        estimator.learn_one(event["x"], event["y"])
        if learned == events:
            break
    watch.stop()
    consumer.close()
    yield watch.lap(events, accuracy=accuracy.get())


CONTESTANTS: Mapping[str, Callable[..., Iterator[Lap]]] = {
    "bare": bare,
    "in_memory": in_memory,
    "headrace": headrace,
    "naive": naive,
    "endless": endless,
    "labelled": labelled,
    "sustained": sustained,
    "replayed": replayed,
    "archiver": archiver,
    "archive_reader": archive_reader,
    "polars_alone": polars_alone,
    "retraining": retraining,
}


def main(name: str, arguments: str) -> None:
    """Run one lap for each line of standard input; logs go to standard error."""
    answers, sys.stdout = sys.stdout, sys.stderr
    laps = CONTESTANTS[name](**json.loads(arguments))
    for _ in sys.stdin:
        print(json.dumps(asdict(next(laps))), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
