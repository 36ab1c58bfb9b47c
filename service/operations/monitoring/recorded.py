"""What monitors would have looked at, from what is recorded: the score journal, and events of archive and stream."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from service.domain.specification.model import ModelSpec
from service.domain.specification.monitor import Watched
from service.domain.stream.events import Event, Records, Skipped, TopicPartition
from service.domain.stream.exclusion import offsets, times
from service.domain.stream.offset_ranges import minus, size
from service.domain.stream.position import Run
from service.learning.engine.work_items import feature_of
from service.learning.guard.guard import Guard
from service.learning.metrics.journal import RunArrays
from service.learning.monitors import Batch
from service.operations.history.exclusion_filter import Sieve
from service.operations.history.reader import History
from service.operations.monitoring.scored_history import inside, of_rows, served
from service.operations.services import Services
from service.operations.states.lineage_tree import past_of

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


def scored(services: Services, spec: ModelSpec, *, events: int) -> Recorded:
    """The newest of what champions have scored and is not excluded, as they predicted it when it came."""
    runs = _unexcluded(services, spec)
    truths, labels = (_column(runs, name)[-events:] for name in ("truths", "labels"))
    given = None
    if runs and all(run.probabilities is not None for run in runs):
        given = _column(runs, "probabilities")[-events:]
    places = [(run.at, int(offset)) for run in runs for offset in run.offsets]
    return Recorded(Batch(truths, labels, given), places[-events:])


def _unexcluded(services: Services, spec: ModelSpec) -> Sequence[RunArrays]:
    runs = served(services.history, services.checkpoints, services.models.get(spec.name)).runs
    stretches = [one.stretch for one in services.exclusions.list(spec.name)]
    holes = offsets(stretches)
    if times(stretches):
        history = History(services, spec)
        try:
            holes = [*holes, *history.excluded([_span(run) for run in runs], stretches=stretches)]
        finally:
            history.close()
    return [of_rows(run, ~inside(run, holes)) for run in runs] if holes else runs


def _span(run: RunArrays) -> Run:
    """From its first offset to its last."""
    return Run(run.at.topic, run.at.partition, int(run.offsets.min()), int(run.offsets.max()) + 1)


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
    guard, sieve = Guard(spec.guard, spec.task), Sieve(stretches)
    try:
        for run in _newest(minus(runs, [*history.missing(runs), *offsets(stretches)]), events):
            for item in history.read(run, exclusions=stretches):
                for piece in sieve.pieces(item):
                    if not isinstance(piece, Skipped):
                        decoded = decoder.decode(piece) if isinstance(piece, Records) else piece
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


def _column(runs: Sequence[RunArrays], name: str) -> list[Any]:
    columns = [getattr(run, name) for run in runs]
    return [value for one in columns for value in (one if isinstance(one, list) else one.tolist())]
