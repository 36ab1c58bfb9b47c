"""Measure learning from a real broker, with checkpoints every second, beside river's bare loop and a naive one."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.claims import Claim, of_medians
from benchmarks.events import TOPIC, chunks, encoded_events, model
from benchmarks.laps import Contestant, Lap, contestant
from tests.acceptance.harness import Deployment
from tests.services.kafka import Broker, why_not

ROUNDS = 5
BARE_SHARE = 10
BATCH = 2048


@dataclass(frozen=True)
class Round:
    """A lap of each contestant, and of the bare loop before and after each."""

    bare: list[Lap]
    librdkafka: Lap
    batch: Lap
    kafka_python: Lap
    naive: Lap

    def against_bare(self, lap: Lap, place: int) -> float:
        """Return the lap's rate divided by that of the bare laps before and after it."""
        before, after = self.bare[place], self.bare[place + 1]
        return lap.rate * (before.seconds + after.seconds) / (before.events + after.events)


def measure(events: int) -> list[Claim]:
    """Let each contestant read one topic from its begin; micro-batches learn all of it, the others a part."""
    reason = why_not()
    if reason is not None:
        msg = f"the benchmark needs a Kafka broker, but {reason}"
        raise RuntimeError(msg)
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        broker = Broker(folder)
        stack.callback(broker.stop)
        broker.start()
        _publish(_deployment(folder / "publisher", broker, "librdkafka"), events)
        bare = stack.enter_context(contestant("bare", events=events // ROUNDS // BARE_SHARE))
        bare.lap()
        rounds = [_round(folder / str(number), broker, bare, events=events) for number in range(ROUNDS)]
    return _claims(rounds)


def _round(folder: Path, broker: Broker, bare: Contestant, *, events: int) -> Round:
    part = events // ROUNDS
    made = [
        (_deployment(folder / "librdkafka", broker, "librdkafka"), part),
        (_deployment(folder / "batch", broker, "librdkafka", batch=BATCH), events),
        (_deployment(folder / "kafka-python", broker, "kafka-python"), part),
    ]
    laps, bares = [], [bare.lap()]
    for deployment, count in made:
        laps.append(_lap("headrace", events=count, folder=str(deployment.folder)))
        bares.append(bare.lap())
    return Round(bares, *laps, _lap("naive", events=part // 2, bootstrap=broker.bootstrap, topic=TOPIC))


def _deployment(folder: Path, broker: Broker, driver: str, *, batch: int = 1) -> Deployment:
    stream = {"bootstrap_servers": broker.bootstrap, "driver": driver}
    return Deployment(folder, model=model(batch=batch), kafka=stream)


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
            note=f"a round's lap is 1/{ROUNDS} of the events, the naive loop's half of that, a micro-batch's all",
        ),
    ]
