"""Recorded input for monitors: scores from the score journal, and features of events from archive and stream."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from service.domain.specification.model import ModelSpec
from service.domain.specification.monitor import MonitorTarget
from service.domain.stream.events import Event, Records, SkippedOffsets, TopicPartition
from service.domain.stream.exclusion import offset_ranges, time_ranges
from service.domain.stream.offset_ranges import offset_count, subtract_ranges
from service.domain.stream.position import OffsetRange
from service.learning.engine.work_items import item_feature
from service.learning.guard.guard import FeatureGuard
from service.learning.metrics.journal import RunArrays
from service.learning.monitors import MonitorBatch
from service.operations.history.exclusion_filter import ExclusionFilter
from service.operations.history.reader import HistoryReader
from service.operations.monitoring.scored_history import read_scored_history, rows_inside, select_rows
from service.operations.services import Services
from service.operations.states.lineage_tree import load_lineage_tree

EventPlace = tuple[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class RecordedEvents:
    """A batch of events for monitors, and the position of each."""

    batch: MonitorBatch
    places: Sequence[EventPlace]

    @property
    def length(self) -> int:
        """Return the number of events."""
        return len(self.places)


def recorded_scores(services: Services, spec: ModelSpec, *, events: int) -> RecordedEvents:
    """Return the newest `events` scores of champions that are not excluded, as they were predicted at arrival."""
    runs = _unexcluded_scores(services, spec)
    truths, labels = (_column(runs, name)[-events:] for name in ("truths", "labels"))
    probabilities = None
    if runs and all(run.probabilities is not None for run in runs):
        probabilities = _column(runs, "probabilities")[-events:]
    places = [(run.at, int(offset)) for run in runs for offset in run.offsets]
    return RecordedEvents(MonitorBatch(truths, labels, probabilities), places[-events:])


def _unexcluded_scores(services: Services, spec: ModelSpec) -> Sequence[RunArrays]:
    runs = read_scored_history(
        services.registry.history, services.registry.checkpoints, services.registry.models.get(spec.name)
    ).runs
    excluded_ranges = [one.excluded_range for one in services.registry.exclusions.list(spec.name)]
    excluded_offsets = offset_ranges(excluded_ranges)
    if time_ranges(excluded_ranges):
        history = HistoryReader(services, spec)
        try:
            excluded_offsets = [
                *excluded_offsets,
                *history.excluded_runs([_run_span(run) for run in runs], excluded_ranges=excluded_ranges),
            ]
        finally:
            history.close()
    return [select_rows(run, ~rows_inside(run, excluded_offsets)) for run in runs] if excluded_offsets else runs


def _run_span(run: RunArrays) -> OffsetRange:
    return OffsetRange(run.at.topic, run.at.partition, int(run.offsets.min()), int(run.offsets.max()) + 1)


def recorded_features(
    services: Services, spec: ModelSpec, *, events: int, on_progress: Callable[[int], None] = lambda _events: None
) -> RecordedEvents:
    """Return the watched features of the newest `events` events that the champion has learned and history holds."""
    names = [one.target_name for one in spec.drift if one.target is MonitorTarget.FEATURE]
    columns: dict[str, list[Any]] = {name: [] for name in names}
    places: list[EventPlace] = []
    for at, found in _events(services, spec, events=events):
        for name, column in columns.items():
            column.extend(item_feature(found, name))
        places += [(at, event.offset) for event in found]
        on_progress(len(found))
    return RecordedEvents(MonitorBatch(feature_values=columns.__getitem__), places)


def _events(services: Services, spec: ModelSpec, *, events: int) -> Iterator[tuple[TopicPartition, Sequence[Event]]]:
    excluded_ranges = [one.excluded_range for one in services.registry.exclusions.list(spec.name)]
    runs = [run for run in load_lineage_tree(services, spec.name).champion_order if run.topic == spec.events]
    history, decoder = HistoryReader(services, spec), services.streams.decoder(spec)
    guard, exclusion_filter = FeatureGuard(spec.guard, spec.task), ExclusionFilter(excluded_ranges)
    try:
        for run in _newest_offsets(
            subtract_ranges(runs, [*history.missing(runs), *offset_ranges(excluded_ranges)]), events
        ):
            for item in history.read(run, excluded_ranges=excluded_ranges):
                for piece in exclusion_filter.split(item):
                    if not isinstance(piece, SkippedOffsets):
                        decoded = decoder.decode(piece) if isinstance(piece, Records) else piece
                        yield decoded.at, guard.admit(decoded.events).events
    finally:
        history.close()


def _newest_offsets(runs: Sequence[OffsetRange], events: int) -> list[OffsetRange]:
    """Return the last `events` offsets of the runs, in their order."""
    found: list[OffsetRange] = []
    for run in reversed(runs):
        left = events - offset_count(found)
        if left <= 0:
            break
        found.insert(0, OffsetRange(run.topic, run.partition, max(run.first, run.last - left), run.last))
    return found


def _column(runs: Sequence[RunArrays], name: str) -> list[Any]:
    columns = [getattr(run, name) for run in runs]
    return [value for one in columns for value in (one if isinstance(one, list) else one.tolist())]
