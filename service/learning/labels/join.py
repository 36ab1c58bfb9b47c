"""Events that wait for their labels, and labels that wait for their events; pure, on event time.

Only what came since the last two commits is held here: the rest lies in the registry, and what of it
a run needs is supplied with the run. Which outcome a label has depends on neither.

"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, cast

from service.domain.stream.events import Event, EventId, TopicPartition, Truth
from service.learning.engine.work_items import Answer, Early, Item, Question, Waiter, time_of
from service.learning.labels.recent_labels import Settled
from service.learning.labels.watermark import EventTime, Kind


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


@dataclass(slots=True)
class _Run:
    """One run being arranged: what the registry holds of it, and the times of those that began or ceased to wait."""

    at: TopicPartition
    before: dict[EventId, Waiter]
    into: Arranged = field(default_factory=Arranged)
    asked: list[int] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)


def in_order(events: Sequence[Event], truths: Sequence[Truth]) -> list[Event | Truth]:
    """Both as they stand in their partition."""
    both: list[Event | Truth] = [*events, *truths]
    if events and truths:
        both.sort(key=attrgetter("offset"))
    return both


class Waiting:
    """Joins labels with events; ids that were labelled lately are not labelled again."""

    def __init__(self, *, ttl_s: float, remember: int, most: int, state: Mapping[str, Any] | None = None) -> None:
        self._time = EventTime(ttl_s=ttl_s, most=most, state=state and state["time"])
        self._settled = Settled(remember, state["settled"] if state else None)
        self._held: dict[EventId, Waiter] = {}
        self._created: dict[EventId, Waiter] = {}
        self._resolved: dict[EventId, None] = {}
        self._gone: set[EventId] = set()
        self._flights: deque[tuple[Mapping[EventId, Waiter], Sequence[EventId]]] = deque()
        self.landings = 0

    def state(self) -> dict[str, Any]:
        """Plain values for msgpack; what is held lies in the registry."""
        return {"time": self._time.state(), "settled": self._settled.state()}

    @property
    def pending(self) -> int:
        """Events that wait for a label."""
        return self._time.waiting(Kind.EVENTS)

    @property
    def early(self) -> int:
        """Labels that wait for an event."""
        return self._time.waiting(Kind.LABELS)

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
        run = _Run(at, {key: one for key, one in supplied.items() if key not in self._gone and key not in self._held})
        if self._time.stands_still([event.ts for event in events], labels=len(truths)):
            self._arrange_quickly(events, truths, run)
        else:
            for one in in_order(events, truths):
                if isinstance(one, Event):
                    self._expire(self._time.pass_by(one.ts), run.into)
                    self._event(one, run)
                else:
                    self._truth(one, run)
        self._time.count(Kind.EVENTS, run.asked)
        self._time.count(Kind.EVENTS, run.answered, -1)
        return run.into

    def put_back(self, answer: Answer, at: TopicPartition, into: Arranged) -> None:
        """Its event was refused after all: the label waits, as if the event had not come."""
        truth = answer.truth
        into.outcomes["joined"] -= 1
        into.outcomes["early"] += 1
        self._keep(truth.id, Early(at, truth))
        self._time.count(Kind.LABELS, (truth.ts,))

    def withdraw(self, question: Question) -> None:
        """The event was refused after all."""
        event = question.event
        if self._held.get(event.id) is question:
            self._resolve(event.id, question)
            self._time.count(Kind.EVENTS, (event.ts,), -1)

    def take(self) -> Changes:
        """What a commit writes; until it has landed, and one more, all of it stays known here."""
        created, resolved = self._created, list(self._resolved)
        self._created, self._resolved = {}, {}
        self._flights.append((created, resolved))
        return Changes(created, resolved, self._time.border_ms - self._time.ttl_ms)

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
        found = self._held.get(key) or (before.get(key) if self._settled.get(key) is None else None)
        return None if found is None or time_of(found) < self._time.border_ms - self._time.ttl_ms else found

    def _arrange_quickly(self, events: Sequence[Event], truths: Sequence[Truth], run: "_Run") -> None:
        """The common cases without a call each: an event that nobody waits for, a label whose event waits."""
        held, created, items, before, at = self._held, self._created, run.into.items, run.before, run.at
        border = self._time.border_ms
        simple = not before and not self.early
        for one in in_order(events, truths):
            if type(one) is Event:
                key = one.id
                if simple and one.y is None and key not in held:
                    question = Question(at, one)
                    self._keep(key, question)
                    items.append(question)
                    run.asked.append(one.ts)
                else:
                    self._event(one, run)
                    simple = simple and not self.early
                continue
            truth = cast("Truth", one)
            known = held.get(truth.id)
            if type(known) is Question and known.event.ts >= border and created.get(truth.id) is known:
                del held[truth.id], created[truth.id]
                self._settled.add(truth.id, truth.y)
                items.append(Answer(known, truth))
                run.answered.append(known.event.ts)
                self._joined(known.event, truth, run.into)
            else:
                self._truth(truth, run)
                simple = simple and not self.early

    def _event(self, event: Event, run: "_Run") -> None:
        known = self._known(event.id, run.before)
        early = known if isinstance(known, Early) else None
        if early is not None:
            self._resolve(event.id, early)
            run.before.pop(event.id, None)
            self._time.count(Kind.LABELS, (early.truth.ts,), -1)
        if event.y is not None:
            if early is not None:
                run.into.outcomes["duplicate" if early.truth.y == event.y else "contradicting"] += 1
            self._settled.add(event.id, event.y)
            run.into.items.append(event)
        elif early is not None and early.truth.ts >= self._time.border_ms:
            event.y = early.truth.y
            self._settled.add(event.id, early.truth.y)
            self._joined(event, early.truth, run.into)
            run.into.items.append(event)
        else:
            self._wait_for_label(event, run)

    def _wait_for_label(self, event: Event, run: "_Run") -> None:
        question = Question(run.at, event)
        run.into.items.append(question)
        if event.ts < self._time.border_ms:
            run.into.outcomes["expired"] += 1
            return
        self._keep(event.id, question)
        self._time.count(Kind.EVENTS, (event.ts,))

    def _truth(self, truth: Truth, run: "_Run") -> None:
        known = self._known(truth.id, run.before)
        if isinstance(known, Question):
            self._answer(truth, known, run)
            return
        earlier = known.truth.y if known is not None else self._settled.get(truth.id)
        outcomes = run.into.outcomes
        if earlier is not None:
            outcomes["duplicate" if earlier == truth.y else "contradicting"] += 1
        elif truth.ts < self._time.border_ms:
            outcomes["unmatched"] += 1
        else:
            outcomes["early"] += 1
            self._keep(truth.id, Early(run.at, truth))
            self._time.count(Kind.LABELS, (truth.ts,))

    def _answer(self, truth: Truth, known: Question, run: "_Run") -> None:
        self._resolve(truth.id, known)
        run.before.pop(truth.id, None)
        if known.event.ts < self._time.border_ms:
            run.into.outcomes["late"] += 1
            return
        self._time.count(Kind.EVENTS, (known.event.ts,), -1)
        self._settled.add(truth.id, truth.y)
        self._joined(known.event, truth, run.into)
        run.into.items.append(Answer(known, truth))

    def _joined(self, event: Event, truth: Truth, into: Arranged) -> None:
        into.outcomes["joined"] += 1
        into.delays_ms.append(max(truth.ts - event.ts, 0))

    def _keep(self, key: EventId, waiter: Waiter) -> None:
        self._held[key] = self._created[key] = waiter
        self._settled.discard(key)
        self._resolved.pop(key, None)
        self._gone.discard(key)

    def _resolve(self, key: EventId, waiter: Waiter) -> None:
        self._held.pop(key, None)
        if self._created.pop(key, None) is not waiter:
            self._resolved[key] = None
            self._gone.add(key)

    def _expire(self, expired: Mapping[Kind, int], into: Arranged) -> None:
        for kind, count in expired.items():
            into.outcomes["expired" if kind is Kind.EVENTS else "unmatched"] += count
