"""Uses predictions that a server made for events in place of the learner's own."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.domain.stream.events import Event, LabelRecord, RefusalReason, ServedPrediction, TopicPartition
from service.learning.engine.fast_path import RawPrediction
from service.learning.engine.stepper import Stepper
from service.learning.engine.work_items import LabelledEvent, UnlabelledEvent, WorkItem


@dataclass(frozen=True, slots=True)
class ServedPredictions:
    """The events, the served predictions by offset, and the events whose prediction was refused.

    A prediction is refused if no estimator of this form can have made it.
    """

    events: Sequence[Event]
    predictions: Mapping[int, RawPrediction] = field(default_factory=dict)
    refused: Sequence[tuple[Event, RefusalReason, str]] = ()


def match_served(
    events: Sequence[Event], served: Mapping[int, ServedPrediction], *, own_lineages: Collection[str], stepper: Stepper
) -> ServedPredictions:
    """Return the served predictions that count as this lineage's: those made by one of `own_lineages`."""
    if not served or not own_lineages:
        return ServedPredictions(events)
    found: dict[int, RawPrediction] = {}
    unfit: list[tuple[Event, RefusalReason, str]] = []
    for event in events:
        prediction = served.get(event.offset)
        if prediction is None or prediction.lineage not in own_lineages:
            continue
        problem = served_problem(
            prediction, gives_probabilities=stepper.gives_probabilities, gives_pairs=stepper.gives_pairs
        )
        if problem:
            unfit.append((event, RefusalReason.BAD_PREDICTION, problem))
        else:
            found[event.offset] = to_raw_prediction(prediction, gives_pairs=stepper.gives_pairs)
    refused = {event.offset for event, _, _ in unfit}
    return ServedPredictions(
        [event for event in events if event.offset not in refused] if refused else events, found, unfit
    )


def served_problem(served: ServedPrediction, *, gives_probabilities: bool, gives_pairs: bool) -> str:
    """Return why an estimator of this form cannot have made the prediction, or "" if it can.

    `gives_probabilities` and `gives_pairs` are those of `FastPath`.
    """
    if (served.probabilities is not None) is not gives_probabilities:
        found, expected = ("no probabilities", "some") if gives_probabilities else ("probabilities", "none")
        return f"found {found}, expected {expected} from the estimator of this lineage"
    if served.probabilities is None or gives_pairs:
        return ""
    likeliest = max(served.probabilities, key=lambda pair: pair[1])[0] if served.probabilities else None
    if likeliest == served.prediction:
        return ""
    return (
        f"found the prediction {served.prediction!r:.80}, expected the label of the highest probability, {likeliest!r}"
    )


def to_raw_prediction(served: ServedPrediction, *, gives_pairs: bool) -> RawPrediction:
    """Return the prediction in the form in which the estimator itself would have made it."""
    if served.probabilities is None:
        return served.prediction
    probabilities: dict[Any, float] = dict(served.probabilities)
    return (served.prediction, probabilities) if gives_pairs else probabilities


def with_served_predictions(
    items: Sequence[WorkItem], at: TopicPartition, predictions: Mapping[int, RawPrediction]
) -> list[WorkItem]:
    """Return the items with served predictions filled in.

    An event that was completed by an early label becomes two items, the unlabelled event and then the labelled one.
    """
    found: list[WorkItem] = []
    for item in items:
        if type(item) is UnlabelledEvent and item.event.offset in predictions:
            item.prediction, item.served = predictions[item.event.offset], True
            found.append(item)
        elif type(item) is Event and item.y is not None and item.offset in predictions:
            event = Event(item.offset, item.id, item.ts, item.x, None, item.group, item.weight)
            unlabelled = UnlabelledEvent(at, event, predictions[item.offset], served=True)
            found += [unlabelled, LabelledEvent(unlabelled, LabelRecord(item.offset, item.id, item.ts, item.y))]
        else:
            found.append(item)
    return found
