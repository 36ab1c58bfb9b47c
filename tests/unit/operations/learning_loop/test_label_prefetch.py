"""The label prefetch looks up runs ahead of the learner, in order, a few at a time, and never uses stale results."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from service.domain.stream.events import (
    DecodedRecords,
    Event,
    EventId,
    LabelRecord,
    Records,
    SkippedOffsets,
    TopicPartition,
)
from service.learning.engine.work_items import PendingItem, decode_pending, encode_event_id, encode_pending
from service.learning.labels.join import LabelJoin
from service.operations.learning_loop.input import MAX_PREFETCHED_RUNS, LabelPrefetch

AT = TopicPartition("events", 0)
DAY_S = 86_400.0


class Registry:
    """A pending table whose lookups are answered when the test says so."""

    def __init__(self) -> None:
        self.rows: dict[bytes, tuple[int, int, bytes]] = {}
        self.asked: list[Sequence[EventId]] = []
        self.open: deque[tuple[Sequence[EventId], Future[Mapping[EventId, PendingItem]]]] = deque()

    def find(self, keys: Sequence[EventId]) -> "Future[Mapping[EventId, PendingItem]]":
        """Start a lookup."""
        self.asked.append(keys)
        self.open.append((keys, Future()))
        return self.open[-1][1]

    def answer(self) -> None:
        """Answer all open lookups from the table as it is now."""
        while self.open:
            keys, future = self.open.popleft()
            found = {key: self.rows[encode_event_id(key)] for key in keys if encode_event_id(key) in self.rows}
            future.set_result({key: decode_pending(encode_event_id(key), *row) for key, row in found.items()})

    def commit(self, waiting: LabelJoin) -> None:
        """Commit the changes since the last commit; it lands at once."""
        changes = waiting.take_changes()
        self.rows.update({encode_event_id(key): encode_pending(waiter) for key, waiter in changes.created.items()})
        for key in changes.resolved:
            self.rows.pop(encode_event_id(key), None)
        waiting.commit_landed()


class Bench:
    """A label prefetch over a queue of runs, and the outcomes of the labels."""

    def __init__(self, runs: Sequence[DecodedRecords | SkippedOffsets] = ()) -> None:
        self.registry = Registry()
        self.waiting = LabelJoin(ttl_s=DAY_S, recent_labels=100, max_pending=1000)
        self.ahead = LabelPrefetch(self.waiting, decode=undecodable, find=self.registry.find)
        self.queue: deque[DecodedRecords | SkippedOffsets] = deque(runs)
        self.taken: list[int] = []
        self.fates: list[str] = []

    def fill(self, *runs: DecodedRecords | SkippedOffsets) -> None:
        """Put these runs into the queue, and let the prefetch take as many as it may."""
        self.queue.extend(runs)
        self.ahead.fill(lambda: self.queue.popleft() if self.queue else None)

    def learn(self) -> bool:
        """Learn the next run if its lookup is answered; return whether it was learned."""
        taken = self.ahead.next()
        if taken is None:
            return False
        item, found = taken
        self.taken.append(item.next_offset)
        if isinstance(item, DecodedRecords):
            arranged = self.waiting.join(item.at, item.events, item.truths, prefetched=found)
            self.fates += arranged.outcomes
        return True


def undecodable(_records: Records) -> DecodedRecords:
    """Fail, as the runs of these tests are decoded already."""
    raise NotImplementedError


def event(offset: int, name: EventId) -> DecodedRecords:
    """Return a run of one event without a label."""
    return DecodedRecords(AT, [Event(offset, name, offset, {"a": 1.0})], [], offset + 1, offset, {})


def label(offset: int, name: EventId) -> DecodedRecords:
    """Return a run of one label."""
    return DecodedRecords(AT, [], [], offset + 1, offset, {}, [LabelRecord(offset, name, offset, y=True)])


def numbered() -> Iterator[DecodedRecords]:
    """Yield events with distinct ids."""
    return (event(offset, offset) for offset in range(1000))


def test_no_more_than_a_few_runs_are_taken() -> None:
    """The prefetch takes only a few runs however many there are, and one more for each that is used."""
    bench = Bench()
    bench.fill(*islice(numbered(), 20))
    assert len(bench.queue) == 20 - MAX_PREFETCHED_RUNS
    assert bench.ahead.has_runs
    assert bench.learn()
    bench.fill()
    assert len(bench.queue) == 20 - MAX_PREFETCHED_RUNS - 1


def test_events_alone_ask_nothing() -> None:
    """Events are not looked up while no early label is pending."""
    bench = Bench()
    bench.fill(*islice(numbered(), 3))
    assert all(bench.learn() for _ in range(3))
    assert bench.registry.asked == []
    assert not bench.learn()


def test_a_run_waits_for_its_lookup_and_none_overtakes_it() -> None:
    """No run is handed out while the lookup of the oldest is open, even if later runs are ready."""
    bench = Bench()
    bench.fill(label(0, "unknown"), event(1, "b"), SkippedOffsets(AT, 2, 9))
    assert not bench.learn()
    bench.registry.answer()
    assert [bench.learn() for _ in range(3)] == [True] * 3
    assert bench.taken == [1, 2, 9]


def test_what_was_committed_before_is_found() -> None:
    """A label that comes many commits after its event joins it."""
    bench = Bench()
    bench.fill(event(0, "a"))
    bench.learn()
    for _ in range(4):
        bench.registry.commit(bench.waiting)
    bench.fill(label(1, "a"))
    bench.registry.answer()
    assert bench.learn()
    assert bench.fates == ["joined"]


def test_a_stale_lookup_is_repeated() -> None:
    """A lookup is repeated after two commits, so that the second of two equal labels is found to be a duplicate."""
    bench = Bench()
    bench.fill(event(0, "a"))
    bench.learn()
    for _ in range(3):
        bench.registry.commit(bench.waiting)
    bench.fill(label(1, "a"), label(2, "a"))
    bench.registry.answer()
    assert bench.learn()
    bench.registry.commit(bench.waiting)
    bench.registry.commit(bench.waiting)
    assert not bench.learn()
    assert bench.registry.asked == [["a"], ["a"], ["a"]]
    bench.registry.answer()
    assert bench.learn()
    assert bench.fates == ["joined", "duplicate"]


def test_what_was_held_when_the_run_was_made_ready_is_asked_for_once_it_is_not() -> None:
    """An event that left memory between the prefetch of its label and its use is looked up and found."""
    bench = Bench()
    bench.fill(event(0, "a"))
    bench.learn()
    bench.registry.commit(bench.waiting)
    bench.fill(event(1, "b"), label(2, "a"))
    assert bench.registry.asked == []
    assert bench.learn()
    bench.registry.commit(bench.waiting)
    assert not bench.learn()
    bench.registry.answer()
    assert bench.learn()
    assert bench.fates == ["joined"]


def test_a_label_that_began_to_wait_meanwhile_is_asked_for() -> None:
    """An event that was prefetched before its early label came is looked up once the label has left memory."""
    bench = Bench()
    bench.fill(label(0, "a"), event(1, "b"), event(2, "a"))
    for _ in range(3):
        while not bench.learn():
            bench.registry.answer()
        bench.registry.commit(bench.waiting)
    assert bench.fates == ["early", "joined"]


STEPS = st.lists(st.sampled_from(["fill", "answer", "learn", "commit"]), max_size=120)


@given(
    kinds=st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=25, unique_by=lambda kind: kind),
    steps=STEPS,
)
def test_no_outcome_depends_on_when_lookups_are_answered(kinds: list[tuple[bool, int]], steps: list[str]) -> None:
    """The outcome of each label does not depend on how prefetches, answers and commits interleave with the runs."""

    def runs() -> list[DecodedRecords]:
        return [event(at, name) if asks else label(at, name) for at, (asks, name) in enumerate(kinds)]

    calm, bench = Bench(), Bench(runs())
    for run in runs():
        calm.fill(run)
        calm.registry.answer()
        calm.learn()
    acts = {
        "fill": bench.fill,
        "answer": bench.registry.answer,
        "learn": bench.learn,
        "commit": lambda: bench.registry.commit(bench.waiting),
    }
    for step in [*steps, *["fill", "answer", "learn", "answer", "learn"] * len(kinds)]:
        acts[step]()
    assert bench.taken == calm.taken
    assert bench.fates == calm.fates
