"""Which decoder a model's specification asks for."""

from service.domain.specification import ModelSpec
from service.ports import Decoder
from service.stream.csv_lines import CsvDecoder
from service.stream.envelope import EnvelopeDecoder
from service.stream.mapping import MappedDecoder


def make_decoder(spec: ModelSpec) -> Decoder:
    """The envelope's where `fields` is left out; ConfigurationError where `fields` cannot be followed."""
    limit, skew = spec.guard.max_event_bytes, spec.guard.max_future_skew
    if spec.fields is None:
        return EnvelopeDecoder(spec.task, max_event_bytes=limit, max_future_skew=skew)
    chosen = CsvDecoder if spec.fields.format == "csv" else MappedDecoder
    return chosen(spec.fields, spec.task, max_event_bytes=limit, max_future_skew=skew)
