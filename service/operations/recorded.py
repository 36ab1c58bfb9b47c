"""What monitors would have looked at, from what is recorded: the score journal, and events of archive and stream."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from service.domain.events import Event, Records, Skipped, TopicPartition
from service.domain.monitoring import Watched
from service.domain.order import minus, size
from service.domain.position import Run
from service.domain.specification import ModelSpec
from service.learning.guard import Guard
from service.learning.monitors import Batch
from service.learning.waiters import feature_of
from service.operations.history import History
from service.operations.past import past_of
from service.operations.served import Served, served
from service.operations.services import Services

Place = tuple[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A batch of `length` events, and where each stands."""

    batch: Batch
    places: Sequence[Place]

    @property
    def length(self) -> int:
        """How many events."""
        return len(self.places)


def scored(services: Services, model: str, *, events: int) -> Recorded:
    """The newest of what champions have scored, as they predicted it when it came."""
    found = served(services.history, services.checkpoints, services.models.get(model))
    truths, labels = (_column(found, name)[-events:] for name in ("truths", "labels"))
    given = None
    if found.runs and all(run.probabilities is not None for run in found.runs):
        given = _column(found, "probabilities")[-events:]
    places = [(run.at, int(offset)) for run in found.runs for offset in run.offsets]
    return Recorded(Batch(truths, labels, given), places[-events:])


def seen(
    services: Services, spec: ModelSpec, *, events: int, tell: Callable[[int], None] = lambda _events: None
) -> Recorded:
    """The features that monitors watch, of the newest events that the champion has learned and history still holds."""
    names = [one.subject for one in spec.drift if one.watched is Watched.FEATURE]
    columns: dict[str, list[Any]] = {name: [] for name in names}
    places: list[Place] = []
    for at, found in _events(services, spec, events=events):
        for name, column in columns.items():
            column.extend(feature_of(found, name))
        places += [(at, event.offset) for event in found]
        tell(len(found))
    return Recorded(Batch(feature=columns.__getitem__), places)


def _events(services: Services, spec: ModelSpec, *, events: int) -> Iterator[tuple[TopicPartition, Sequence[Event]]]:
    stretches = [one.stretch for one in services.exclusions.list(spec.name)]
    runs = [run for run in past_of(services, spec.name).order if run.topic == spec.events]
    history, decoder = History(services, spec), services.decoder(spec)
    guard = Guard(spec.guard, spec.task)
    try:
        for run in _newest(minus(runs, history.missing(runs)), events):
            for item in history.read(run, exclusions=stretches):
                if not isinstance(item, Skipped):
                    decoded = decoder.decode(item) if isinstance(item, Records) else item
                    yield decoded.at, guard.admit(decoded.events).events
    finally:
        history.close()


def _newest(runs: Sequence[Run], events: int) -> list[Run]:
    """The last offsets of the runs, in their order."""
    found: list[Run] = []
    for run in reversed(runs):
        left = events - size(found)
        if left <= 0:
            break
        found.insert(0, Run(run.topic, run.partition, max(run.first, run.last - left), run.last))
    return found


def _column(found: Served, name: str) -> list[Any]:
    columns = [getattr(run, name) for run in found.runs]
    return [value for one in columns for value in (one if isinstance(one, list) else one.tolist())]
