"""Format predictions as JSON, JSON Lines or CSV."""

import csv
import io
from collections.abc import Mapping, Sequence

import msgspec

from service.learning.inference.predictor import PredictionResult
from service.operations.inference.model_cache import ServedModel
from service.serving.edge.errors import NotAcceptableError
from service.serving.edge.prepared_response import PreparedResponse, RawHeaders, ResponseHead

JSON, LINES, CSV = "application/json", "application/jsonlines", "text/csv"
_FORMAT_OF_ACCEPT: Mapping[str, str] = {
    JSON: JSON,
    LINES: LINES,
    "application/x-ndjson": LINES,
    "application/jsonl": LINES,
    CSV: CSV,
    "*/*": JSON,
    "application/*": JSON,
    "text/*": CSV,
    "": JSON,
}
_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines

_CONTENT_TYPES: Mapping[str, tuple[bytes, bytes]] = {
    JSON: (b"content-type", b"application/json"),
    LINES: (b"content-type", b"application/jsonlines"),
    CSV: (b"content-type", b"text/csv; charset=utf-8"),
}


class StateSignature:
    """The model, version, checkpoint and position that every response names; encoded once per state."""

    def __init__(self, served: ServedModel) -> None:
        checkpoint = served.checkpoint
        state = {
            "model": served.model,
            "version": served.version,
            "checkpoint": checkpoint,
            "position": served.position.to_json(),
        }
        self.tail = b"," + _encode(state)[1:]
        position = _encode(state["position"]).decode("ascii", "backslashreplace")
        named = {"model": served.model, "version": str(served.version), "position": position}
        named |= {} if checkpoint is None else {"checkpoint": str(checkpoint)}
        headers = [(f"headrace-{key}".encode(), value.encode("ascii")) for key, value in named.items()]
        self.heads = {kind: ResponseHead(200, [*headers, of_type]) for kind, of_type in _CONTENT_TYPES.items()}


def negotiate_format(accept: str) -> str:
    """Return the best offered media type for an `Accept` header; raise NotAcceptableError if none fits."""
    if accept in _FORMAT_OF_ACCEPT:
        return _FORMAT_OF_ACCEPT[accept]
    wanted = [part.partition(";") for part in accept.lower().split(",")]
    ranked = sorted(((_weight(rest), kind.strip()) for kind, _, rest in wanted), key=lambda one: -one[0])
    for weight, kind in ranked:
        if weight > 0 and kind in _FORMAT_OF_ACCEPT:
            return _FORMAT_OF_ACCEPT[kind]
    msg = f"found Accept: {accept:.100}, expected {JSON}, {LINES} or {CSV}"
    raise NotAcceptableError(msg)


def _weight(rest: str) -> float:
    for part in rest.split(";"):
        key, _, value = part.partition("=")
        if key.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def render_predictions(
    predictions: Sequence[PredictionResult],
    signature: StateSignature,
    *,
    media_type: str,
    many: bool,
    extra_headers: RawHeaders,
) -> PreparedResponse:
    """Return the response with the predictions, the headers of the signature and `extra_headers`."""
    if media_type == JSON and not many:
        body = _encode(predictions[0])[:-1] + signature.tail
    elif media_type == JSON:
        body = b'{"predictions":' + _encode(predictions) + signature.tail
    elif media_type == LINES:
        body = _encode_lines(predictions)
    else:
        body = _to_csv(predictions)
    return PreparedResponse(signature.heads[media_type], body, extra_headers)


def _to_csv(predictions: Sequence[PredictionResult]) -> bytes:
    """Return CSV with a header: id if any was given, prediction, and a probability per label."""
    labels = list(dict.fromkeys(label for one in predictions for label in one.probabilities or ()))
    with_ids = any(one.id is not msgspec.UNSET for one in predictions)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([*(["id"] if with_ids else []), "prediction", *(f"probability_{label}" for label in labels)])
    for one in predictions:
        probabilities = one.probabilities or {}
        id_cell = ["" if one.id is msgspec.UNSET else one.id] if with_ids else []
        writer.writerow([*id_cell, _csv_cell(one.prediction), *(probabilities.get(label, "") for label in labels)])
    return text.getvalue().encode()


def _csv_cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value
