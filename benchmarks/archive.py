"""Measure archiving from a real broker with librdkafka: processor time, size beside the JSON, and reading back."""

from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.claims import Claim, of_medians
from benchmarks.events import chunks, model
from benchmarks.laps import Lap, contestant
from benchmarks.noisy import labelled_events
from tests.acceptance.harness import Deployment
from tests.services.kafka import Broker, why_not

ROUNDS = 3


def measure(events: int) -> list[Claim]:
    """Archive the whole topic anew in each round, then read it back."""
    reason = why_not()
    if reason is not None:
        msg = f"the benchmark needs a Kafka broker, but {reason}"
        raise RuntimeError(msg)
    with TemporaryDirectory() as name:
        folder = Path(name)
        broker = Broker(folder)
        try:
            broker.start()
            size = _publish(_deployment(folder / "publisher", broker), events)
            made = [_deployment(folder / str(number), broker) for number in range(ROUNDS)]
            written = [_lap("archiver", events=events, folder=str(one.folder)) for one in made]
            read = [_lap("archive_reader", events=events, folder=str(one.folder)) for one in made]
            files = [sum(file.stat().st_size for file in one.folder.rglob("*.parquet")) for one in made]
        finally:
            broker.stop()
    return [
        of_medians(
            "archived from Kafka with librdkafka, a core",
            [lap.events / lap.cpu_seconds for lap in written],
            unit="events/s",
            at_least=200_000,
            note="events by processor time of all threads of the process, from its first look at the stream",
        ),
        of_medians("archived from Kafka with librdkafka, by the clock", [lap.rate for lap in written], unit="events/s"),
        of_medians("size / JSON", [found / size for found in files], at_most=0.25),
        of_medians("read back, a core", [lap.events / lap.cpu_seconds for lap in read], unit="events/s"),
    ]


def _deployment(folder: Path, broker: Broker) -> Deployment:
    return Deployment(folder, model=model(), kafka={"bootstrap_servers": broker.bootstrap, "driver": "librdkafka"})


def _publish(deployment: Deployment, events: int) -> int:
    """Publish the events, and return the topic's size in bytes of JSON."""
    size = 0
    with deployment.app() as app:
        sink = app.sink()
        sink.create(deployment.model["events"], partitions=1)
        for chunk in chunks(labelled_events(events)):
            sink.append(deployment.model["events"], chunk)
            size += sum(map(len, chunk))
        sink.close()
    return size


def _lap(name: str, **arguments: object) -> Lap:
    with contestant(name, **arguments) as found:
        return found.lap()
