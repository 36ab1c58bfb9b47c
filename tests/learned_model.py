"""A model in a folder of its own, learned and changed in this process: a real registry, no daemon and no thread that reads."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any

from service.bootstrap import App
from service.domain.registry.registry import CommandKind, Lease, Lineage, LineageId, RegisteredModel
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Records, SkippedOffsets, TopicPartition
from service.domain.stream.position import OffsetBounds, Position
from service.errors import UnavailableError
from service.operations.commands.request import request_and_wait
from service.operations.history.record_runs import ConsumedItem
from service.operations.learning_loop.committer import Committer
from service.operations.learning_loop.session import Session
from service.operations.retry import Outage
from service.operations.services import Services
from service.operations.states.recovery import recover
from service.operations.states.registration import register_model
from service.ports.registry import ModelHistory
from tests.acceptance.harness import Deployment, phishing_events

HOLDER = "test"


class QueuedRecords:
    """Implements the session's `RecordSource` over records that a test puts in."""

    def __init__(self, topic: str, *, first: int = 0) -> None:
        self.at = TopicPartition(topic, 0)
        self.next_offset = first
        self.acknowledged: list[Position] = []
        self.failure: Exception | None = None
        self._items: deque[ConsumedItem] = deque()

    def put(self, values: Sequence[bytes]) -> None:
        """Append a run of records."""
        offsets = range(self.next_offset, self.next_offset + len(values))
        self.next_offset = offsets.stop
        self._items.append(Records(self.at, offsets, [*offsets], values, offsets.stop))

    def skip(self, next_offset: int) -> None:
        """Append a run of offsets that are passed over."""
        self._items.append(SkippedOffsets(self.at, self.next_offset, next_offset))
        self.next_offset = next_offset

    @property
    def bounds(self) -> Mapping[TopicPartition, OffsetBounds]:
        """Return from the beginning to behind the last record."""
        return {self.at: OffsetBounds(0, self.next_offset)}

    @property
    def outage(self) -> Outage | None:
        """Return None: it is always there."""
        return None

    def take(self, *, timeout_s: float) -> ConsumedItem | None:
        """Return the next run without waiting, or raise the failure that a test has set."""
        del timeout_s
        if self.failure is not None:
            raise self.failure
        return self._items.popleft() if self._items else None

    def acknowledge(self, position: Position) -> None:
        """Keep it in `acknowledged`."""
        self.acknowledged.append(position)


class Unreachable:
    """A real part, one operation of which raises UnavailableError a number of times before it goes through.

    With `after_effect` the operation is carried out each time, and only its answer is lost.
    """

    def __init__(self, part: Any, operation: str, *, times: int, after_effect: bool = False) -> None:
        self._part = part
        self._operation = operation
        self._after_effect = after_effect
        self.left = times
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        """Return the part's own member, guarded where it is the operation."""
        member = getattr(self._part, name)
        if name != self._operation:
            return member

        def attempt(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            if self.left == 0:
                return member(*arguments, **named)
            self.left -= 1
            if self._after_effect:
                member(*arguments, **named)
            msg = "connection refused"
            raise UnavailableError(msg)

        return attempt


class Unreadable:
    """A real history of a model, some of whose artifacts raise an error when they are read."""

    def __init__(self, history: ModelHistory, errors: Mapping[str, Exception]) -> None:
        self._history = history
        self._errors = errors

    def __getattr__(self, name: str) -> Any:
        """Return the history's own member."""
        return getattr(self._history, name)

    def artifact(self, digest: str) -> bytes:
        """Return the sealed bytes, or raise the digest's error."""
        if digest in self._errors:
            raise self._errors[digest]
        return self._history.artifact(digest)


@dataclass
class LearnedModel:
    """The model of a deployment; `services` are this process's, whose leases the tests' commands are carried out under."""

    deployment: Deployment
    app: App
    services: Services = field(init=False)

    def __post_init__(self) -> None:
        """Register the model over an empty stream."""
        self.services = replace(self.app.services, holder=HOLDER)
        self.deployment.publish([])
        register_model(self.services, self.spec, actor="test")

    @property
    def spec(self) -> ModelSpec:
        """Return the file's specification."""
        return self.app.settings.models[0]

    @property
    def name(self) -> str:
        """Return the model's name."""
        return self.spec.name

    @property
    def registered(self) -> RegisteredModel:
        """Return the registry's row."""
        return self.services.registry.models.get(self.name)

    @property
    def champion(self) -> Lineage:
        """Return the lineage that serves."""
        assert self.registered.champion is not None
        return self.services.registry.history.lineage(self.name, self.registered.champion)

    @property
    def learned(self) -> int:
        """Return how many events the champion's newest checkpoint has learned."""
        newest = self.services.registry.checkpoints.newest(self.champion.id)
        return newest.learned if newest else 0

    def lease(self, lineage: LineageId | None = None) -> Lease:
        """Take the lease of a lineage, or of the champion."""
        return self.services.registry.leases.acquire(
            lineage or self.champion.id, holder=self.services.holder, ttl_s=60.0
        )

    @contextmanager
    def session(
        self,
        services: Services | None = None,
        *,
        lineage: Lineage | None = None,
        stop: Event | None = None,
        **options: Any,
    ) -> Iterator[tuple[Session, QueuedRecords]]:
        """Open a session of the champion, or of another lineage, and the queue that it learns from.

        `options` are the session's own.
        """
        parts, found = services or self.services, lineage or self.champion
        lease = self.lease(found.id)
        recovered = recover(parts, found, lease=lease)
        at = TopicPartition(self.spec.events, 0)
        source = QueuedRecords(self.spec.events, first=recovered.position.offsets.get(at, 0))
        with ThreadPoolExecutor(2) as pool:
            committer = Committer(parts, pool, stop or Event(), spec=recovered.spec)
            yield Session(parts, recovered, lease, source, committer, **options), source
        self.services.registry.leases.release(lease)

    def learn(self, count: int, *, lineage: Lineage | None = None) -> None:
        """Learn so many more events in one checkpoint; the champion's are in the stream, too."""
        with self.session(lineage=lineage) as (session, source):
            values = phishing_events(count, first=source.next_offset)
            if lineage is None:
                self.deployment.publish(values)
            source.put(values)
            learn_all(session)
            session.commit_now()

    def run(self, kind: CommandKind, **arguments: Any) -> str:
        """Have a command carried out by this process, and return what became of it."""
        return request_and_wait(self.services, self.name, kind=kind, arguments=arguments, actor="ann", wait_s=5.0)


def refused(model: LearnedModel, payload: bytes, **options: Any) -> int:
    """Publish and learn one record that is refused, and return the number of its dead letter."""
    with model.session(**options) as (session, source):
        model.deployment.publish([payload])
        source.put([payload])
        learn_all(session)
        session.commit_now()
    return model.services.registry.dead_letters.list(model.name, limit=1)[0].id


def learn_all(session: Session) -> None:
    """Step until there is nothing left to take."""
    while session.step():
        pass


@contextmanager
def learned_model(deployment: Deployment) -> Iterator[LearnedModel]:
    """Open the object graph of a deployment with its model registered."""
    with deployment.app() as app:
        yield LearnedModel(deployment, app)
