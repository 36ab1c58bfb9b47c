"""Joins events that wait for their labels with labels that wait for their events, on event time and without IO.

Only what came since the last two commits is held here. The rest lies in the registry, and the rows that a run needs are
passed in with it. A label's outcome depends on neither.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, cast

from service.domain.stream.events import Event, EventId, LabelRecord, TopicPartition
from service.learning.engine.work_items import (
    EarlyLabel,
    LabelledEvent,
    PendingItem,
    UnlabelledEvent,
    WorkItem,
    event_time_ms,
)
from service.learning.labels.recent_labels import RecentLabels
from service.learning.labels.watermark import EventTimeWatermark, PendingKind


@dataclass(frozen=True, slots=True)
class PendingChanges:
    """What a commit writes of pending events and labels: new ones, resolved ones and the watermark.

    Rows older than `watermark_ms` (epoch milliseconds) can be deleted.
    """

    created: Mapping[EventId, PendingItem]
    resolved: Sequence[EventId]
    watermark_ms: int


@dataclass(slots=True)
class JoinedRun:
    """The items to work on in order, label outcomes by name, and the label delays in milliseconds."""

    items: list[WorkItem] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    delays_ms: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _JoinState:
    """The join of one run: the registry's rows for it, and the event times that it adds to and takes off the counts."""

    at: TopicPartition
    stored: dict[EventId, PendingItem]
    result: JoinedRun = field(default_factory=JoinedRun)
    unlabelled_times: list[int] = field(default_factory=list)
    labelled_times: list[int] = field(default_factory=list)


def merge_by_offset(events: Sequence[Event], labels: Sequence[LabelRecord]) -> list[Event | LabelRecord]:
    """Return events and labels in the order in which they stand in their partition."""
    both: list[Event | LabelRecord] = [*events, *labels]
    if events and labels:
        both.sort(key=attrgetter("offset"))
    return both


class LabelJoin:
    """Joins labels with events; an id that was labelled lately is not labelled again."""

    def __init__(
        self, *, ttl_s: float, recent_labels: int, max_pending: int, state: Mapping[str, Any] | None = None
    ) -> None:
        self._watermark = EventTimeWatermark(ttl_s=ttl_s, max_pending=max_pending, state=state and state["time"])
        self._recent_labels = RecentLabels(recent_labels, state["settled"] if state else None)
        self._held: dict[EventId, PendingItem] = {}
        self._created: dict[EventId, PendingItem] = {}
        self._resolved: dict[EventId, None] = {}
        self._resolved_in_flight: set[EventId] = set()
        self._commits_in_flight: deque[tuple[Mapping[EventId, PendingItem], Sequence[EventId]]] = deque()
        self.commits_landed = 0

    def state(self) -> dict[str, Any]:
        """Return plain values for msgpack; the pending items themselves lie in the registry."""
        return {"time": self._watermark.state(), "settled": self._recent_labels.state()}

    @property
    def pending_count(self) -> int:
        """Return how many events wait for a label."""
        return self._watermark.pending_count(PendingKind.EVENTS)

    @property
    def early_count(self) -> int:
        """Return how many labels wait for an event."""
        return self._watermark.pending_count(PendingKind.LABELS)

    @property
    def created_count(self) -> int:
        """Return how many new rows a commit would write."""
        return len(self._created)

    def ids_to_look_up(self, events: Sequence[Event], labels: Sequence[LabelRecord]) -> list[EventId]:
        """Return the ids of a run that may lie in the registry and must be passed in with it."""
        held = self._held
        found = [truth.id for truth in labels if truth.id not in held]
        if self.early_count:
            found += [event.id for event in events if event.id not in held]
        return found

    def join(
        self,
        at: TopicPartition,
        events: Sequence[Event],
        labels: Sequence[LabelRecord],
        *,
        prefetched: Mapping[EventId, PendingItem],
    ) -> JoinedRun:
        """Return what to predict and learn for the events and labels of one run, each in offset order."""
        run = _JoinState(
            at,
            {
                key: one
                for key, one in prefetched.items()
                if key not in self._resolved_in_flight and key not in self._held
            },
        )
        if self._watermark.observe_without_advance([event.ts for event in events], labels=len(labels)):
            self._join_quickly(events, labels, run)
        else:
            for one in merge_by_offset(events, labels):
                if isinstance(one, Event):
                    self._expire(self._watermark.observe(one.ts), run.result)
                    self._join_event(one, run)
                else:
                    self._join_label(one, run)
        self._watermark.add_pending(PendingKind.EVENTS, run.unlabelled_times)
        self._watermark.add_pending(PendingKind.EVENTS, run.labelled_times, -1)
        return run.result

    def hold_label(self, labelled: LabelledEvent, at: TopicPartition, result: JoinedRun) -> None:
        """Let the label wait, as if its event had not come, because the event was refused after all."""
        label = labelled.label
        result.outcomes["joined"] -= 1
        result.outcomes["early"] += 1
        self._hold(label.id, EarlyLabel(at, label))
        self._watermark.add_pending(PendingKind.LABELS, (label.ts,))

    def drop_event(self, unlabelled: UnlabelledEvent) -> None:
        """Forget a pending event that was refused after all."""
        event = unlabelled.event
        if self._held.get(event.id) is unlabelled:
            self._resolve(event.id, unlabelled)
            self._watermark.add_pending(PendingKind.EVENTS, (event.ts,), -1)

    def take_changes(self) -> PendingChanges:
        """Return what a commit writes; all of it stays held until that commit and the next have landed."""
        created, resolved = self._created, list(self._resolved)
        self._created, self._resolved = {}, {}
        self._commits_in_flight.append((created, resolved))
        return PendingChanges(created, resolved, self._watermark.watermark_ms - self._watermark.ttl_ms)

    def commit_landed(self) -> None:
        """Note that the oldest commit under way is durable, and let go of what the one before it wrote."""
        self.commits_landed += 1
        # A lookup that began before a commit landed may end after it, and would find its rows in neither place
        # if they were let go at once.
        if len(self._commits_in_flight) < 2:
            return
        created, resolved = self._commits_in_flight.popleft()
        for key, pending in created.items():
            if self._held.get(key) is pending:
                del self._held[key]
        self._resolved_in_flight.difference_update(resolved)

    def _find_pending(self, key: EventId, stored: Mapping[EventId, PendingItem]) -> PendingItem | None:
        """Return what waits under this id, or None; twice the TTL after its time it counts as forgotten."""
        found = self._held.get(key) or (stored.get(key) if self._recent_labels.get(key) is None else None)
        return (
            None
            if found is None or event_time_ms(found) < self._watermark.watermark_ms - self._watermark.ttl_ms
            else found
        )

    def _join_quickly(self, events: Sequence[Event], labels: Sequence[LabelRecord], run: "_JoinState") -> None:
        """Handle the common cases inline: an event that no label awaits, a label whose event is held."""
        held, created, items, before, at = self._held, self._created, run.result.items, run.stored, run.at
        watermark_ms = self._watermark.watermark_ms
        simple = not before and not self.early_count
        for one in merge_by_offset(events, labels):
            if type(one) is Event:
                key = one.id
                if simple and one.y is None and key not in held:
                    unlabelled = UnlabelledEvent(at, one)
                    self._hold(key, unlabelled)
                    items.append(unlabelled)
                    run.unlabelled_times.append(one.ts)
                else:
                    self._join_event(one, run)
                    simple = simple and not self.early_count
                continue
            label = cast("LabelRecord", one)
            known = held.get(label.id)
            if type(known) is UnlabelledEvent and known.event.ts >= watermark_ms and created.get(label.id) is known:
                del held[label.id], created[label.id]
                self._recent_labels.add(label.id, label.y)
                items.append(LabelledEvent(known, label))
                run.labelled_times.append(known.event.ts)
                self._count_joined(known.event, label, run.result)
            else:
                self._join_label(label, run)
                simple = simple and not self.early_count

    def _join_event(self, event: Event, run: "_JoinState") -> None:
        known = self._find_pending(event.id, run.stored)
        early = known if isinstance(known, EarlyLabel) else None
        if early is not None:
            self._resolve(event.id, early)
            run.stored.pop(event.id, None)
            self._watermark.add_pending(PendingKind.LABELS, (early.label.ts,), -1)
        if event.y is not None:
            if early is not None:
                run.result.outcomes["duplicate" if early.label.y == event.y else "contradicting"] += 1
            self._recent_labels.add(event.id, event.y)
            run.result.items.append(event)
        elif early is not None and early.label.ts >= self._watermark.watermark_ms:
            event.y = early.label.y
            self._recent_labels.add(event.id, early.label.y)
            self._count_joined(event, early.label, run.result)
            run.result.items.append(event)
        else:
            self._wait_for_label(event, run)

    def _wait_for_label(self, event: Event, run: "_JoinState") -> None:
        unlabelled = UnlabelledEvent(run.at, event)
        run.result.items.append(unlabelled)
        if event.ts < self._watermark.watermark_ms:
            run.result.outcomes["expired"] += 1
            return
        self._hold(event.id, unlabelled)
        self._watermark.add_pending(PendingKind.EVENTS, (event.ts,))

    def _join_label(self, label: LabelRecord, run: "_JoinState") -> None:
        known = self._find_pending(label.id, run.stored)
        if isinstance(known, UnlabelledEvent):
            self._label_event(label, known, run)
            return
        earlier = known.label.y if known is not None else self._recent_labels.get(label.id)
        outcomes = run.result.outcomes
        if earlier is not None:
            outcomes["duplicate" if earlier == label.y else "contradicting"] += 1
        elif label.ts < self._watermark.watermark_ms:
            outcomes["unmatched"] += 1
        else:
            outcomes["early"] += 1
            self._hold(label.id, EarlyLabel(run.at, label))
            self._watermark.add_pending(PendingKind.LABELS, (label.ts,))

    def _label_event(self, label: LabelRecord, known: UnlabelledEvent, run: "_JoinState") -> None:
        self._resolve(label.id, known)
        run.stored.pop(label.id, None)
        if known.event.ts < self._watermark.watermark_ms:
            run.result.outcomes["late"] += 1
            return
        self._watermark.add_pending(PendingKind.EVENTS, (known.event.ts,), -1)
        self._recent_labels.add(label.id, label.y)
        self._count_joined(known.event, label, run.result)
        run.result.items.append(LabelledEvent(known, label))

    def _count_joined(self, event: Event, label: LabelRecord, result: JoinedRun) -> None:
        result.outcomes["joined"] += 1
        result.delays_ms.append(max(label.ts - event.ts, 0))

    def _hold(self, key: EventId, pending: PendingItem) -> None:
        self._held[key] = self._created[key] = pending
        self._recent_labels.discard(key)
        self._resolved.pop(key, None)
        self._resolved_in_flight.discard(key)

    def _resolve(self, key: EventId, pending: PendingItem) -> None:
        self._held.pop(key, None)
        if self._created.pop(key, None) is not pending:
            self._resolved[key] = None
            self._resolved_in_flight.add(key)

    def _expire(self, expired: Mapping[PendingKind, int], result: JoinedRun) -> None:
        for kind, count in expired.items():
            result.outcomes["expired" if kind is PendingKind.EVENTS else "unmatched"] += count
