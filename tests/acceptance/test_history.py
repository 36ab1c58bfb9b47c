"""History that the stream no longer holds: read from the archive, and missed where there is none."""

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert

from service.bootstrap import App
from service.domain.registry.registry import ChangeOrigin, CommandKind
from service.domain.stream.events import Records, RefusalReason, TopicPartition
from service.domain.stream.exclusion import Exclusion
from service.errors import BelowStartError
from service.operations.history.exclusions import parse_exclusions
from service.operations.learning_loop.opening import LearnOptions
from service.operations.replay.plan import RollbackOptions, plan_rollback, register_replay, rollback_summary
from service.operations.replay.run import OffsetProgress, run_replay
from service.operations.services import Services
from service.storage.schema import registry as tables
from service.testing.archive import EmptyArchive, MemoryArchive
from service.testing.services import with_parts
from service.testing.stream import MemoryStream
from tests.acceptance.harness import PHISHING, Deployment, State, phishing_events
from tests.acceptance.rederived import with_opposite_labels
from tests.budget import FULL

AT = TopicPartition("phishing.events", 0)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
BASE = int(NOON.timestamp() * 1000)


@dataclass
class World:
    """A deployment whose stream and archive are in memory; a record's timestamp is its offset after noon."""

    app: App
    deployment: Deployment
    stream: MemoryStream = field(default_factory=MemoryStream)
    archive: MemoryArchive | EmptyArchive = field(default_factory=EmptyArchive)
    values: list[bytes] = field(default_factory=list)

    def services(self) -> Services:
        """The registry's services, over this stream and archive."""
        return with_parts(self.app.services, source=lambda _: self.stream.source(), archive=lambda _: self.archive)

    def publish(self, values: Sequence[bytes]) -> None:
        """Append."""
        sink = self.stream.sink()
        sink.create(AT.topic, partitions=1)
        first = len(self.values)
        sink.append(AT.topic, values, timestamps=[BASE + first + at for at in range(len(values))])
        self.values += values

    def learn(self, *, accept_gap: bool = False) -> None:
        """What is in the stream now."""
        options = LearnOptions(until_end=True, accept_gap=accept_gap)
        host = self.app.worker([], options, stop=threading.Event(), nonce="test")
        found = self.services()
        host.services = with_parts(host.services, source=found.streams.source, archive=found.streams.archive)
        host.run()

    def archived(self, last: int) -> None:
        """Have the first records archived."""
        self.archive = MemoryArchive(self.app.decoder(self.app.spec("phishing")))
        offsets = list(range(last))
        self.archive.store(Records(AT, offsets, [BASE + at for at in offsets], self.values[:last], last))

    def excluded(self, *texts: str) -> list[Exclusion]:
        """FROM..TO as they are written."""
        return parse_exclusions(self.services(), "phishing", texts)

    def roll_back(self, *exclude: str, accept_gap: bool = False) -> list[OffsetProgress]:
        """In replay mode, in this process."""
        services, told = self.services(), list[OffsetProgress]()
        wish = RollbackOptions(self.excluded(*exclude), accept_gap=accept_gap)
        found = plan_rollback(services, "phishing", wish)
        assert rollback_summary(services, found)["records"] == found.record_count
        lineage = register_replay(services, found, origin=ChangeOrigin("test"))
        assert run_replay(services, lineage, stop=threading.Event(), on_progress=told.append)
        return told


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """A new one, in which only the end of learning is a checkpoint."""
    deployment = Deployment(folder, {**PHISHING, "checkpoint": {"every": "1h"}})
    with deployment.app() as app:
        yield World(app, deployment)


def taught(folder: Path, values: Sequence[bytes]) -> State:
    """The state of a model that learned these from a stream that forgets nothing."""
    with world(folder) as calm:
        calm.publish(values)
        calm.learn()
        return replace(calm.deployment.state(), position={}, order=())


def is_that(found: State, oracle: State) -> bool:
    """Whether counts, metrics and predictions are exactly those."""
    assert found.counts == oracle.counts
    assert found.report == oracle.report
    assert found.probes == oracle.probes
    return True


def test_a_learner_fills_the_gap_from_the_archive(tmp_path: Path) -> None:
    """What retention has deleted before it was learned is learned from the archive, what is excluded of it is not."""
    events = phishing_events(3000)
    with world(tmp_path / "gap") as found:
        found.publish(events[:1000])
        found.learn()
        found.publish(events[1000:])
        found.stream.truncate(AT, before=2200)
        for archived in (None, 2100):
            if archived:
                found.archived(archived)
            with pytest.raises(BelowStartError, match=r"1000.*2200.*headrace learn --accept-gap") as caught:
                found.learn()
            assert ("the archive holds 0 to 2100" if archived else "no archive holds them") in str(caught.value)
        found.archived(2500)
        hour = (NOON + timedelta(milliseconds=1500), NOON + timedelta(milliseconds=1600))
        for text in ("1200..1300", "..".join(moment.isoformat() for moment in hour)):
            found.app.registry.exclusions.add("phishing", found.excluded(text)[0])
        found.learn()
        state = found.deployment.state()
    left = events[:1200] + events[1300:1500] + events[1600:]
    assert is_that(state, taught(tmp_path / "calm", left))
    assert state.position == {AT.topic: {"0": 3000}}


def test_accepting_the_gap(tmp_path: Path) -> None:
    """Where nothing holds what is missing, the learner goes on without it if it is told to."""
    events = phishing_events(2000)
    with world(tmp_path / "gap") as found:
        found.publish(events[:500])
        found.learn()
        found.publish(events[500:])
        found.stream.truncate(AT, before=1200)
        found.learn(accept_gap=True)
        assert is_that(found.deployment.state(), taught(tmp_path / "calm", events[:500] + events[1200:]))


@pytest.mark.parametrize("how", ["offsets", "time"])
def test_a_replay_goes_on_from_the_archive(tmp_path: Path, how: str) -> None:
    """Over the archive and then the stream, the model is exactly the one that never saw the window."""
    events = phishing_events(6000)
    with world(tmp_path / "archived") as found:
        found.publish(events[:1000] + with_opposite_labels(events[1000:2500]) + events[2500:])
        found.learn()
        found.archived(4000)
        found.stream.truncate(AT, before=2000)
        window = "1000..2500"
        if how == "time":
            window = "..".join((NOON + timedelta(milliseconds=ms)).isoformat() for ms in (1000, 2500))
        told = found.roll_back(window)
        assert is_that(found.deployment.state(), taught(tmp_path / "calm", events[:1000] + events[2500:]))
        assert told[-1].done == told[-1].total > 0
        assert found.deployment.state().position == {AT.topic: {"0": 6000}}


def test_without_the_archive_it_says_what_is_missing(tmp_path: Path) -> None:
    """The error names the offsets and both ways on; accepting the gap gives the model without them."""
    events = phishing_events(3000)
    with world(tmp_path / "missing") as found:
        found.publish(events)
        found.learn()
        found.stream.truncate(AT, before=400)
        with pytest.raises(BelowStartError) as caught:
            found.roll_back("1000..1500")
        for word in ("phishing.events[0] 0 to 400", "--accept-gap", "--mode restore"):
            assert word in str(caught.value)
        assert [entry.action for entry in found.app.registry.history.audit("phishing")] == ["register"]
        found.roll_back("1000..1500", accept_gap=True)
        state, last = found.deployment.state(), found.app.registry.history.audit("phishing")[-1]
    assert is_that(state, taught(tmp_path / "calm", events[400:1000] + events[1500:]))
    assert last.evidence["gaps"] == ["phishing.events/0:0..400"]


def test_what_killed_a_process_is_passed_over(tmp_path: Path) -> None:
    """A record that stands in the dead letters as a killer of processes is refused by the replay, and not learned."""
    events = phishing_events(2000)
    with world(tmp_path / "killer") as found:
        found.publish(events)
        found.learn()
        letter = {
            "topic": AT.topic,
            "partition": 0,
            "position": 700,
            "reason": RefusalReason.KILLED_PROCESS,
            "detail": "",
        }
        said = {"model": "phishing", "payload": b"", "size": 0, "created_at": NOON}
        with found.app.registry.database.write_transaction() as connection:
            connection.execute(insert(tables.dead_letters).values(**letter, **said))
        found.roll_back("1000..1200")
        state = found.deployment.state()
    oracle = taught(tmp_path / "calm", events[:700] + events[701:1000] + events[1200:])
    assert state.counts == {"learned": 1799, "dead": 1}
    assert (state.report, state.probes) == (oracle.report, oracle.probes)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 134, *(pytest.param(seed, marks=FULL) for seed in range(1, 5))])
def test_any_past(tmp_path: Path, seed: int) -> None:
    """However versions, restores, exclusions and replays follow each other, the model is that of the right events."""
    chance, events = random.Random(seed), phishing_events(2000)
    with world(tmp_path / "any") as found:
        learned: list[int] = []
        gone: set[int] = set()
        restored: list[int] = []
        versions: dict[int, list[int]] = {1: []}

        def learn() -> None:
            first, count = len(found.values), chance.randint(20, 120)
            found.publish(events[first : first + count])
            found.learn()
            learned.extend(offset for offset in range(first, first + count) if offset not in gone)

        def snapshot() -> None:
            found.app.run_command("phishing", CommandKind.SNAPSHOT, {}, actor="test")
            versions[len(versions) + 1] = list(learned)

        def restore() -> None:
            goal = chance.choice(list(versions))
            found.app.run_command("phishing", CommandKind.ROLLBACK, {"to": str(goal)}, actor="test")
            learned[:] = versions[goal]
            restored.append(goal)
            versions[len(versions) + 1] = list(learned)

        def leave_out() -> None:
            first = chance.randrange(len(found.values))
            last = first + chance.randint(1, 60)
            gone.update(range(first, last))
            if set(learned) & gone:
                found.roll_back(f"{first}..{last}")
                learned[:] = [offset for offset in learned if offset not in gone]
                versions[len(versions) + 1] = list(learned)
            else:
                found.app.registry.exclusions.add("phishing", found.excluded(f"{first}..{last}")[0])

        learn()
        for _ in range(12):
            chance.choice([learn, learn, snapshot, restore, leave_out, leave_out])()
        learn()
        state = found.deployment.state()
        assert set(versions) == {one.number for one in found.app.registry.history.versions("phishing")}
        assert state.position == {AT.topic: {"0": len(found.values)}}
    oracle = taught(tmp_path / "calm", [events[offset] for offset in learned])
    assert state.probes == oracle.probes
    assert restored or is_that(state, oracle), "metrics and counts go on through a restore, and only then"
