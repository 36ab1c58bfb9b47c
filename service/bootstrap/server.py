"""Builds the server's routes and limits from the settings."""

import threading
from collections.abc import Callable, Sequence

from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp

from service.bootstrap import App
from service.bootstrap.admin import admin_api
from service.bootstrap.queries import ServerQueries
from service.config import Settings
from service.config.sections import ServerSettings
from service.errors import ConfigurationError
from service.operations.inference.ingest import RecordIngestor
from service.operations.inference.model_cache import ModelCache
from service.operations.inference.prediction_log import PredictionLog
from service.ports.telemetry import ServerTelemetry, ServingTelemetry
from service.serving.admin.application import docs_route
from service.serving.edge import probes
from service.serving.edge.access_log import AccessLog
from service.serving.edge.accounting import RequestAccounting
from service.serving.edge.application import server_application
from service.serving.edge.auth import Authorizer, OpenAuthorizer, TokenAuthorizer
from service.serving.edge.limits import WorkerLoad
from service.serving.ingestion import routes as ingestion
from service.serving.predictions import routes as predictions
from service.serving.predictions.answer_logging import PredictionLogger


def build_model_cache(app: App, telemetry: ServingTelemetry, stop: threading.Event) -> ModelCache:
    """Return a cache of the champion of every model in the file; raise ConfigurationError when there is none."""
    names = [model.name for model in app.settings.models]
    if not names:
        msg = "found no models in the configuration, expected at least one under `models:`; see `headrace init`"
        raise ConfigurationError(msg)
    return ModelCache(app.services, app.registry.champion_feed, names, telemetry, stop)


def build_ingestor(app: App) -> RecordIngestor:
    """Return the ingestor of records for every model's topics; close it last, when no request is left."""
    return RecordIngestor(app.services, app.settings.models)


def new_worker_load(settings: ServerSettings) -> WorkerLoad:
    """Return the limits of one worker on body size, time and concurrency."""
    return WorkerLoad(settings.max_body, settings.timeout, settings.concurrency)


def access_log(settings: Settings) -> AccessLog | None:
    """Return the access log, or None when it is off or the log level would hide it."""
    wanted = settings.server.access_log and settings.log.level in {"debug", "info"}
    return AccessLog(as_json=settings.log.format == "json") if wanted else None


def authorizer_of(app: App) -> Authorizer:
    """Return the authorizer that `server.auth` and `server.rate` ask for."""
    given = app.settings.server
    return OpenAuthorizer() if given.auth == "none" else TokenAuthorizer(app.registry.tokens, given.rate)


def build_asgi_app(
    found: Sequence[BaseRoute], telemetry: ServerTelemetry, *, load: WorkerLoad, log: AccessLog | None
) -> ASGIApp:
    """Return the ASGI application of the routes, with accounting and limits."""
    return server_application(found, load=load, accounting=RequestAccounting(telemetry, log))


def server_routes(
    app: App,
    model_cache: ModelCache,
    ingest: RecordIngestor,
    *,
    queries: ServerQueries,
    telemetry: ServerTelemetry,
    metrics: Callable[[], bytes],
) -> list[BaseRoute]:
    """Return every route of the server; all that need a token share one authorizer."""
    given = app.settings.server
    authorizer = authorizer_of(app)
    prediction_logger = PredictionLogger(PredictionLog(app.services, ingest), telemetry, timeout_s=given.timeout)
    return [
        *predictions.prediction_routes(
            model_cache, OpenAuthorizer() if given.open_predictions else authorizer, telemetry, prediction_logger
        ),
        *ingestion.ingestion_routes(ingest, authorizer, telemetry, timeout_s=given.timeout),
        *probes.probe_routes(model_cache, metrics),
        Mount("/api/v1", admin_api(app, authorizer, queries)),
        docs_route(),
    ]
