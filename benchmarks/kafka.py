"""Learning from a real broker, checkpoints every second included, beside river's bare loop and a naive one."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.claims import Claim, of_medians
from benchmarks.events import chunks, encoded_events, model
from benchmarks.laps import Contestant, Lap, contestant
from tests.acceptance.harness import Deployment
from tests.services.kafka import Broker, why_not

ROUNDS = 5
BARE_SHARE = 10
BATCH = 2048


@dataclass(frozen=True)
class Round:
    """A lap of each, and of the bare loop before and after each."""

    bare: list[Lap]
    librdkafka: Lap
    batch: Lap
    kafka_python: Lap
    naive: Lap

    def against_bare(self, lap: Lap, place: int) -> float:
        """The lap's rate over that of the bare laps on its two sides."""
        before, after = self.bare[place], self.bare[place + 1]
        return lap.rate * (before.seconds + after.seconds) / (before.events + after.events)


def measure(events: int) -> list[Claim]:
    """Each round has a topic of its own, all of which each contestant learns from the beginning."""
    reason = why_not()
    if reason is not None:
        msg = f"the benchmark needs a Kafka broker, but {reason}"
        raise RuntimeError(msg)
    count = events // ROUNDS
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        broker = Broker(folder)
        stack.callback(broker.stop)
        broker.start()
        bare = stack.enter_context(contestant("bare", events=count // BARE_SHARE))
        bare.lap()
        rounds = [_round(folder / str(number), broker.bootstrap, bare, events=count) for number in range(ROUNDS)]
    return _claims(rounds)


def _round(folder: Path, bootstrap: str, bare: Contestant, *, events: int) -> Round:
    topic = f"phishing.events.{folder.name}"
    drivers = {"librdkafka": 1, "batch": BATCH, "kafka-python": 1}
    made = {}
    for name, batch in drivers.items():
        driver = "librdkafka" if name == "batch" else name
        stream = {"bootstrap_servers": bootstrap, "driver": driver}
        made[name] = Deployment(folder / name, model=model(batch=batch, topic=topic), kafka=stream)
    _publish(made["librdkafka"], events)
    laps, bares = [], [bare.lap()]
    for deployment in made.values():
        laps.append(_lap("headrace", events=events, folder=str(deployment.folder)))
        bares.append(bare.lap())
    naive = _lap("naive", events=events // 2, bootstrap=bootstrap, topic=topic)
    _require_same_work(laps, events)
    return Round(bares, *laps, naive)


def _publish(deployment: Deployment, events: int) -> None:
    with deployment.app() as app:
        sink = app.sink()
        sink.create(deployment.model["events"], partitions=1)
        for chunk in chunks(encoded_events(events)):
            sink.append(deployment.model["events"], chunk)
        sink.close()


def _lap(name: str, **arguments: object) -> Lap:
    with contestant(name, **arguments) as found:
        return found.lap()


def _require_same_work(laps: list[Lap], events: int) -> None:
    librdkafka, batch, kafka_python = laps
    learned = (librdkafka.events, batch.events, kafka_python.events)
    if learned != (events, events - events % BATCH, events) or librdkafka.accuracy != kafka_python.accuracy:
        msg = f"found {learned} events learned of {events}, accuracies {librdkafka.accuracy} {kafka_python.accuracy}"
        raise RuntimeError(msg)


def _claims(rounds: list[Round]) -> list[Claim]:
    return [
        of_medians("bare loop between the laps", [lap.rate for one in rounds for lap in one.bare], unit="events/s"),
        of_medians(
            "Kafka, librdkafka / bare loop",
            [one.against_bare(one.librdkafka, 0) for one in rounds],
            at_least=0.75,
        ),
        of_medians(
            f"Kafka, librdkafka, batch of {BATCH} / bare loop",
            [one.against_bare(one.batch, 1) for one in rounds],
            at_least=3.0,
        ),
        of_medians(
            "Kafka, kafka-python / bare loop",
            [one.against_bare(one.kafka_python, 2) for one in rounds],
            at_least=0.5,
        ),
        of_medians(
            "Kafka, kafka-python / naive loop",
            [one.kafka_python.rate / one.naive.rate for one in rounds],
            at_least=2.0,
        ),
    ]
