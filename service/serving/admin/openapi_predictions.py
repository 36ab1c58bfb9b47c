"""Describe the routes that are not FastAPI's, written by hand; acceptance tests compare it with the server."""

from collections.abc import Mapping
from typing import Any

from service.serving.admin.problem_schemas import problem_responses

OpenApiObject = dict[str, Any]
LINES = "application/jsonlines"
FEATURES = {"age": 31, "country": "NO", "is_new": True}
PREDICTION = {"prediction": True, "probabilities": {"false": 0.21, "true": 0.79}}
SIGNATURE = {"model": "phishing", "version": 3, "checkpoint": 812, "position": {"phishing.events": {"0": 120000}}}
EVENT = {"id": "17", "ts": "2026-01-31T12:00:00Z", "x": FEATURES}
LABEL = {"id": "17", "y": True}
_SCALAR = {"type": ["number", "string", "boolean", "null"]}
_STATE_PROPERTIES = {
    "model": {"type": "string"},
    "version": {"type": "integer"},
    "checkpoint": {"type": ["integer", "null"]},
    "position": {"type": "object", "additionalProperties": {"type": "object"}},
}
_ID = {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 128}, {"type": "integer"}]}
_ID_OR_NONE = {"anyOf": [*_ID["anyOf"], {"type": "null"}]}
_CONTRIBUTION = {"feature": {"type": "string"}, "contribution": {"type": "number"}}
_EXPLANATION = {
    "type": "object",
    "description": "`base` and the contributions of all features add up to `total`, of which `label` is the subject.",
    "required": ["base", "total", "contributions"],
    "properties": {
        "base": {"type": "number"},
        "total": {"type": "number"},
        "label": {"type": "string"},
        "contributions": {"type": "array", "items": {"type": "object", "properties": _CONTRIBUTION}},
    },
}
SCHEMAS: Mapping[str, OpenApiObject] = {
    "Features": {
        "type": "object",
        "description": "Numbers, text, booleans and null by name.",
        "additionalProperties": _SCALAR,
        "example": FEATURES,
    },
    "PredictionRequest": {
        "type": "object",
        "description": "Features with an id, which comes back with the prediction.",
        "required": ["x"],
        "properties": {"id": _ID_OR_NONE, "x": {"$ref": "#/components/schemas/Features"}},
        "example": {"id": "17", "x": FEATURES},
    },
    "Prediction": {
        "type": "object",
        "required": ["prediction"],
        "properties": {
            "id": _ID,
            "prediction": {**_SCALAR, "description": "A label, or the value of a regression."},
            "probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
            "explanation": _EXPLANATION,
        },
        "example": PREDICTION,
    },
    "SignedPrediction": {
        "type": "object",
        "description": "A prediction, and the state it came from.",
        "required": ["prediction", "model", "version"],
        "properties": {
            "id": _ID,
            "prediction": _SCALAR,
            "probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
            "explanation": _EXPLANATION,
            **_STATE_PROPERTIES,
        },
        "example": {**PREDICTION, **SIGNATURE},
    },
    "SignedPredictions": {
        "type": "object",
        "description": "Predictions in the order asked for, and the state they came from.",
        "required": ["predictions", "model", "version"],
        "properties": {
            "predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}},
            **_STATE_PROPERTIES,
        },
        "example": {"predictions": [PREDICTION], **SIGNATURE},
    },
    "Event": {
        "type": "object",
        "description": "In the layout of the model's topic; without `fields` this one.",
        "example": EVENT,
    },
    "Label": {
        "type": "object",
        "description": "In the layout of the model's topic; without `label_fields` this one.",
        "example": LABEL,
    },
    "Accepted": {
        "type": "object",
        "description": "So many records are durable in the stream.",
        "required": ["accepted"],
        "properties": {"accepted": {"type": "integer"}},
        "example": {"accepted": 1},
    },
}


def _schema_ref(name: str) -> OpenApiObject:
    return {"$ref": f"#/components/schemas/{name}"}


def _one_or_many(*names: str, least: int = 0) -> OpenApiObject:
    one = [_schema_ref(name) for name in names]
    return {"anyOf": [*one, {"type": "array", "minItems": least, "items": {"anyOf": one}}]}


def _text_content(example: str) -> OpenApiObject:
    return {"schema": {"type": "string"}, "example": example}


_MODEL = {
    "name": "m",
    "in": "path",
    "required": True,
    "description": "The model's name.",
    "schema": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_.-]{0,62}$"},
    "example": "phishing",
}
_VERSION = {
    "name": "version",
    "in": "query",
    "description": "A kept version, as it was when it was made.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 2**53},
}
_EXPLAIN = {
    "name": "explain",
    "in": "query",
    "description": "What each feature has contributed; of linear models, trees, forests and boosted trees.",
    "schema": {"type": "boolean", "default": False},
}
_STATE_HEADERS = {
    f"Headrace-{name}": {"schema": {"type": "string"}} for name in ("Model", "Version", "Checkpoint", "Position")
}
_CSV_ANSWER = "prediction,probability_false,probability_true\r\ntrue,0.21,0.79\r\n"


def _predict_operation(operation: str, summary: str, *parameters: OpenApiObject) -> OpenApiObject:
    return {
        "operationId": operation,
        "summary": summary,
        "tags": ["predictions"],
        "security": [{"token": []}],
        "parameters": [*parameters, _VERSION, _EXPLAIN],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _one_or_many("PredictionRequest", "Features"), "example": FEATURES},
                LINES: _text_content('{"age": 31}\n{"age": 32}\n'),
                "text/csv": _text_content("age,country\n31,NO\n32,SE\n"),
            },
        },
        "responses": {
            "200": {
                "description": "Predictions, in the order asked for.",
                "headers": _STATE_HEADERS,
                "content": {
                    "application/json": {
                        "schema": {"anyOf": [_schema_ref("SignedPredictions"), _schema_ref("SignedPrediction")]},
                        "example": {**PREDICTION, **SIGNATURE},
                    },
                    LINES: _text_content('{"prediction":true}\n{"prediction":false}\n'),
                    "text/csv": _text_content(_CSV_ANSWER),
                },
            },
            **problem_responses(400, 401, 403, 404, 406, 408, 409, 413, 415, 422, 429, 500, 503),
        },
    }


def _append_operation(operation: str, summary: str, schema: str, example: OpenApiObject) -> OpenApiObject:
    return {
        "operationId": operation,
        "summary": summary,
        "tags": ["ingestion"],
        "security": [{"token": []}],
        "parameters": [_MODEL],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _one_or_many(schema, least=1), "example": example},
                LINES: _text_content('{"id": 17}\n{"id": 18}\n'),
                "text/csv": _text_content("17,31,NO\n18,32,SE\n"),
            },
        },
        "responses": {
            "202": {
                "description": "Durable in the stream.",
                "content": {"application/json": {"schema": _schema_ref("Accepted"), "example": {"accepted": 1}}},
            },
            **problem_responses(400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503),
        },
    }


def _probe_operation(
    operation: str, summary: str, media_type: str, *, example: Any, unready: bool = False
) -> OpenApiObject:
    """Return the operation of a probe route; without a media type its response has no body."""
    schema = {"type": "string"} if isinstance(example, str) else {"type": "object"}
    content: OpenApiObject = {"content": {media_type: {"schema": schema, "example": example}}} if media_type else {}
    responses = {"200": {"description": summary, **content}}
    if unready:
        responses["503"] = {"description": "Not every model can be predicted.", **content}
    return {"operationId": operation, "summary": summary, "tags": ["probes"], "security": [], "responses": responses}


PATHS: Mapping[str, OpenApiObject] = {
    "/invocations": {"post": _predict_operation("predict", "Predictions of the only model.")},
    "/models/{m}/invocations": {"post": _predict_operation("predictOfModel", "Predictions of a model.", _MODEL)},
    "/models/{m}/events": {
        "post": _append_operation("appendEvents", "Append events to a model's stream.", "Event", EVENT)
    },
    "/models/{m}/labels": {
        "post": _append_operation("appendLabels", "Append labels to a model's stream.", "Label", LABEL)
    },
    "/ping": {"get": _probe_operation("ping", "The server lives.", "", example=None)},
    "/healthz": {
        "get": _probe_operation("health", "The server lives.", "application/json", example={"status": "alive"})
    },
    "/readyz": {
        "get": _probe_operation(
            "readiness",
            "Every model can be predicted.",
            "application/json",
            example={"ready": True, "reasons": [], "degraded": []},
            unready=True,
        )
    },
    "/metrics": {
        "get": _probe_operation("scrape", "For Prometheus.", "text/plain", example="headrace_requests_total 1.0\n")
    },
}
