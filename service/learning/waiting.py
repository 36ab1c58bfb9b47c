"""Events that wait for their labels, and labels that wait for their events; pure, on event time.

Only what came since the last two commits is held here: the rest lies in the registry, and what of it
a run needs is supplied with the run. Which outcome a label has depends on neither.

Event time moves a block of events at a time, to the median of the block: no single event, however
far in the future, makes another expire, and a stream that pauses makes none.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from statistics import median_low
from typing import Any, Self

from service.domain.events import Event, EventId, Label, TopicPartition, Truth
from service.learning.waiters import Answer, Early, Item, Question, Waiter, time_of

BLOCK = 64
SHARES = 256
NEVER = -(2**62)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a commit writes of those that wait: new ones, those resolved, and the border of event time.

    Whatever is older than `border_ms` (epoch milliseconds) can be forgotten.
    """

    created: Mapping[EventId, Waiter]
    resolved: Sequence[EventId]
    border_ms: int


@dataclass(slots=True)
class Arranged:
    """What to do, in order; how many labels met which fate; delays of those that joined, in milliseconds."""

    items: list[Item] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    delays_ms: list[int] = field(default_factory=list)


def in_order(events: Sequence[Event], truths: Sequence[Truth]) -> list[Event | Truth]:
    """Both as they stand in their partition."""
    both: list[Event | Truth] = [*events, *truths]
    return sorted(both, key=attrgetter("offset"))


class Waiting:
    """Joins labels with events; `settled` ids have been labelled lately and are not labelled again."""

    def __init__(self, *, ttl_s: float, remember: int, most: int) -> None:
        self._ttl_ms = max(int(ttl_s * 1000), SHARES)
        self._width_ms = self._ttl_ms // SHARES
        self._remember = remember
        self._most = most
        self._held: dict[EventId, Waiter] = {}
        self._created: dict[EventId, Waiter] = {}
        self._resolved: dict[EventId, None] = {}
        self._gone: set[EventId] = set()
        self._flights: deque[tuple[Mapping[EventId, Waiter], Sequence[EventId]]] = deque()
        self._settled: OrderedDict[EventId, Label] = OrderedDict()
        self._block: list[int] = []
        self._border_ms = NEVER
        self._counts: dict[str, Counter[int]] = {"events": Counter(), "labels": Counter()}
        self.landings = 0

    @classmethod
    def restore(cls, state: Mapping[str, Any], *, ttl_s: float, remember: int, most: int) -> Self:
        """The inverse of `state`, with nothing held: it lies in the registry."""
        found = cls(ttl_s=ttl_s, remember=remember, most=most)
        if state:
            found._settled = OrderedDict((key, y) for key, y in state["settled"])
            found._block = list(state["block"])
            found._border_ms = state["border"]
            found._counts = {kind: Counter(dict(pairs)) for kind, pairs in state["counts"].items()}
        return found

    def state(self) -> dict[str, Any]:
        """Plain values for msgpack."""
        return {
            "settled": list(self._settled.items()),
            "block": self._block.copy(),
            "border": self._border_ms,
            "counts": {kind: list(counts.items()) for kind, counts in self._counts.items()},
        }

    @property
    def pending(self) -> int:
        """Events that wait for a label."""
        return self._counts["events"].total()

    @property
    def early(self) -> int:
        """Labels that wait for an event."""
        return self._counts["labels"].total()

    @property
    def created(self) -> int:
        """How many a commit would write."""
        return len(self._created)

    def unknown(self, events: Sequence[Event], truths: Sequence[Truth]) -> list[EventId]:
        """The ids of a run that may lie in the registry, to be supplied with it."""
        held = self._held
        found = [truth.id for truth in truths if truth.id not in held]
        if self.early:
            found += [event.id for event in events if event.id not in held]
        return found

    def arrange(
        self,
        at: TopicPartition,
        events: Sequence[Event],
        truths: Sequence[Truth],
        *,
        supplied: Mapping[EventId, Waiter],
    ) -> Arranged:
        """The events and labels of one run, each in offset order, as what is to be predicted and learned."""
        into = Arranged()
        before = {key: one for key, one in supplied.items() if key not in self._gone and key not in self._held}
        if not truths:
            for event in events:
                self._event(at, event, before, into)
        elif not events:
            for truth in truths:
                self._truth(at, truth, before, into)
        else:
            for one in in_order(events, truths):
                if isinstance(one, Event):
                    self._event(at, one, before, into)
                else:
                    self._truth(at, one, before, into)
        return into

    def withdraw(self, question: Question) -> None:
        """The event was refused after all."""
        event = question.event
        if self._held.get(event.id) is question:
            self._resolve(event.id, question)
            self._count("events", event.ts, -1)

    def take(self) -> Changes:
        """What a commit writes; until it has landed, and one more, all of it stays known here."""
        created, resolved = self._created, list(self._resolved)
        self._created, self._resolved = {}, {}
        self._flights.append((created, resolved))
        return Changes(created, resolved, self._border_ms - self._ttl_ms)

    def landed(self) -> None:
        """The oldest commit under way is durable: what the one before it wrote need not be held any more."""
        self.landings += 1
        if len(self._flights) < 2:
            return
        created, resolved = self._flights.popleft()
        for key, waiter in created.items():
            if self._held.get(key) is waiter:
                del self._held[key]
        self._gone.difference_update(resolved)

    def _known(self, key: EventId, before: Mapping[EventId, Waiter]) -> Waiter | None:
        """Who waits under this id; twice the TTL after its time it is forgotten, wherever it may still lie."""
        found = self._held.get(key) or before.get(key)
        return None if found is None or time_of(found) < self._border_ms - self._ttl_ms else found

    def _event(self, at: TopicPartition, event: Event, before: dict[EventId, Waiter], into: Arranged) -> None:
        self._pass_time(event.ts, into)
        known = self._known(event.id, before)
        early = known if isinstance(known, Early) else None
        if early is not None:
            self._resolve(event.id, early)
            before.pop(event.id, None)
            self._count("labels", early.truth.ts, -1)
        if event.y is not None:
            if early is not None:
                into.outcomes["duplicate" if early.truth.y == event.y else "contradicting"] += 1
            self._settle(event.id, event.y)
            into.items.append(event)
        elif early is not None and early.truth.ts >= self._border_ms:
            event.y = early.truth.y
            self._settle(event.id, early.truth.y)
            self._joined(event, early.truth, into)
            into.items.append(event)
        else:
            self._wait_for_label(at, event, into)

    def _wait_for_label(self, at: TopicPartition, event: Event, into: Arranged) -> None:
        question = Question(at, event)
        into.items.append(question)
        if event.ts < self._border_ms:
            into.outcomes["expired"] += 1
            return
        self._keep(event.id, question)
        self._count("events", event.ts, 1)

    def _truth(self, at: TopicPartition, truth: Truth, before: dict[EventId, Waiter], into: Arranged) -> None:
        known = self._known(truth.id, before)
        if isinstance(known, Question):
            self._resolve(truth.id, known)
            before.pop(truth.id, None)
            if known.event.ts < self._border_ms:
                into.outcomes["late"] += 1
                return
            self._count("events", known.event.ts, -1)
            self._settle(truth.id, truth.y)
            self._joined(known.event, truth, into)
            into.items.append(Answer(known, truth))
            return
        earlier = known.truth.y if known is not None else self._settled.get(truth.id)
        if earlier is not None:
            into.outcomes["duplicate" if earlier == truth.y else "contradicting"] += 1
        elif truth.ts < self._border_ms:
            into.outcomes["unmatched"] += 1
        else:
            into.outcomes["early"] += 1
            self._keep(truth.id, Early(at, truth))
            self._count("labels", truth.ts, 1)

    def _joined(self, event: Event, truth: Truth, into: Arranged) -> None:
        into.outcomes["joined"] += 1
        into.delays_ms.append(max(truth.ts - event.ts, 0))

    def _keep(self, key: EventId, waiter: Waiter) -> None:
        self._held[key] = self._created[key] = waiter
        self._resolved.pop(key, None)
        self._gone.discard(key)

    def _resolve(self, key: EventId, waiter: Waiter) -> None:
        self._held.pop(key, None)
        if self._created.pop(key, None) is not waiter:
            self._resolved[key] = None
            self._gone.add(key)

    def _settle(self, key: EventId, y: Label) -> None:
        self._settled[key] = y
        if len(self._settled) > self._remember:
            self._settled.popitem(last=False)

    def _count(self, kind: str, ts: int, change: int) -> None:
        counts = self._counts[kind]
        if ts < self._border_ms:
            return
        share = ts // self._width_ms
        counts[share] += change
        if not counts[share]:
            del counts[share]

    def _pass_time(self, ts: int, into: Arranged) -> None:
        self._block.append(ts)
        if len(self._block) < BLOCK:
            return
        now = median_low(self._block)
        self._block = []
        self._advance(now - self._ttl_ms, into)
        excess = self.pending + self.early - self._most
        if excess > 0:
            self._expire_oldest(excess, into)

    def _advance(self, border_ms: int, into: Arranged) -> None:
        """Event time has come so far that what is older has waited in vain; borders are whole shares of the TTL."""
        border_ms = border_ms // self._width_ms * self._width_ms
        if border_ms <= self._border_ms:
            return
        self._border_ms = border_ms
        for kind, outcome in (("events", "expired"), ("labels", "unmatched")):
            counts = self._counts[kind]
            past = [share for share in counts if share * self._width_ms < border_ms]
            into.outcomes[outcome] += sum(counts.pop(share) for share in past)

    def _expire_oldest(self, excess: int, into: Arranged) -> None:
        """More wait than may: the oldest shares go before their time."""
        both = self._counts["events"] + self._counts["labels"]
        for share in sorted(both):
            self._advance((share + 1) * self._width_ms, into)
            excess -= both[share]
            if excess <= 0:
                return
