"""Chooses the decoder that a model's specification asks for."""

from service.domain.specification.model import ModelSpec
from service.ports.stream import Decoder
from service.stream.decoding.columnar import ColumnarDecoder
from service.stream.decoding.csv_lines import CsvDecoder
from service.stream.decoding.envelope import EnvelopeDecoder
from service.stream.decoding.labels import LabelDecoder, MixedDecoder, TopicDecoder, label_layout
from service.stream.decoding.mapped import MappedDecoder
from service.stream.decoding.served import ServedPredictionDecoder


def make_decoder(spec: ModelSpec) -> Decoder:
    """Return the decoder of all records of the model's topics; raise ConfigurationError when no layout fits."""
    plain = _topics_decoder(spec)
    if not spec.log_predictions:
        return plain
    limit = spec.guard.max_event_bytes
    events = EnvelopeDecoder(spec.task, max_event_bytes=limit, max_future_skew=spec.guard.max_future_skew)
    return ServedPredictionDecoder(plain, events, spec.task, topic=spec.events, max_event_bytes=limit)


def _topics_decoder(spec: ModelSpec) -> Decoder:
    """Return the decoder of events, and of labels if they are records of their own."""
    events = _event_decoder(spec)
    if spec.labels is None:
        return events
    layout = label_layout(spec.fields, spec.label_fields)
    limit, skew = spec.guard.max_event_bytes, spec.guard.max_future_skew
    labels = LabelDecoder(layout, spec.task, max_event_bytes=limit, max_future_skew=skew)
    if spec.labels == spec.events:
        return MixedDecoder(events, labels, native=spec.fields is None and spec.label_fields is None)
    return TopicDecoder(events, labels, topic=spec.labels)


def _event_decoder(spec: ModelSpec) -> Decoder:
    """Return the decoder of events: the envelope's if `fields` is left out."""
    limit, skew = spec.guard.max_event_bytes, spec.guard.max_future_skew
    if spec.fields is None:
        plain = EnvelopeDecoder(spec.task, max_event_bytes=limit, max_future_skew=skew)
        return ColumnarDecoder(plain, spec.task) if spec.learn.batch > 1 and spec.labels is None else plain
    chosen = CsvDecoder if spec.fields.format == "csv" else MappedDecoder
    return chosen(spec.fields, spec.task, max_event_bytes=limit, max_future_skew=skew)
