"""Predictions that a server made for events: the lineage that said them waits with them in place of its own."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.domain.stream.events import Event, Reason, Served, TopicPartition, Truth
from service.learning.engine.fast_path import Prediction
from service.learning.engine.stepper import Stepper
from service.learning.engine.work_items import Answer, Item, Question


@dataclass(frozen=True, slots=True)
class Answered:
    """Events, what was served for some of them by offset, and those whose answer no estimator of this form gives."""

    events: Sequence[Event]
    predictions: Mapping[int, Prediction] = field(default_factory=dict)
    unfit: Sequence[tuple[Event, Reason, str]] = ()


def answered(
    events: Sequence[Event], served: Mapping[int, Served], *, own: Collection[str], stepper: Stepper
) -> Answered:
    """What of `served` counts as said by this lineage: the answers of lineages whose stamps are its `own`."""
    if not served or not own:
        return Answered(events)
    found: dict[int, Prediction] = {}
    unfit: list[tuple[Event, Reason, str]] = []
    for event in events:
        told = served.get(event.offset)
        if told is None or told.lineage not in own:
            continue
        problem = misfit(told, probabilities=stepper.gives_probabilities, pairs=stepper.pairs)
        if problem:
            unfit.append((event, Reason.BAD_PREDICTION, problem))
        else:
            found[event.offset] = in_form(told, pairs=stepper.pairs)
    refused = {event.offset for event, _, _ in unfit}
    return Answered([event for event in events if event.offset not in refused] if refused else events, found, unfit)


def misfit(told: Served, *, probabilities: bool, pairs: bool) -> str:
    """Why an estimator of this form cannot have said it; empty where it can. The flags are those of `Pass`."""
    if (told.probabilities is not None) is not probabilities:
        found, expected = ("no probabilities", "some") if probabilities else ("probabilities", "none")
        return f"found {found}, expected {expected} from the estimator of this lineage"
    if told.probabilities is None or pairs:
        return ""
    likeliest = max(told.probabilities, key=lambda pair: pair[1])[0] if told.probabilities else None
    if likeliest == told.prediction:
        return ""
    return f"found the prediction {told.prediction!r:.80}, expected the label of the highest probability, {likeliest!r}"


def in_form(told: Served, *, pairs: bool) -> Prediction:
    """As the estimator itself would have said it."""
    if told.probabilities is None:
        return told.prediction
    probabilities: dict[Any, float] = dict(told.probabilities)
    return (told.prediction, probabilities) if pairs else probabilities


def with_served(items: Sequence[Item], at: TopicPartition, predictions: Mapping[int, Prediction]) -> list[Item]:
    """Questions that are answered by what was served; where an early label waited, question and answer at once."""
    found: list[Item] = []
    for item in items:
        if type(item) is Question and item.event.offset in predictions:
            item.prediction, item.served = predictions[item.event.offset], True
            found.append(item)
        elif type(item) is Event and item.y is not None and item.offset in predictions:
            event = Event(item.offset, item.id, item.ts, item.x, None, item.group, item.weight)
            question = Question(at, event, predictions[item.offset], served=True)
            found += [question, Answer(question, Truth(item.offset, item.id, item.ts, item.y))]
        else:
            found.append(item)
    return found
