"""The server's parts, from the settings."""

import threading
from collections.abc import Callable, Sequence

from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp

from service.bootstrap import App
from service.bootstrap.admin import admin_api
from service.bootstrap.queries import Desk
from service.config import Settings
from service.config.sections import Server
from service.errors import ConfigurationError
from service.operations.inference.ingest import Ingest
from service.operations.inference.model_cache import Follower
from service.operations.inference.prediction_log import ServedLog
from service.ports.telemetry import ServerTelemetry, ServingTelemetry
from service.serving.admin.application import documentation
from service.serving.edge import probes
from service.serving.edge.access_log import AccessLog
from service.serving.edge.accounting import Accounting
from service.serving.edge.application import application
from service.serving.edge.auth import Gate, OpenGate, TokenGate
from service.serving.edge.limits import Load
from service.serving.ingestion import routes as ingestion
from service.serving.predictions import routes as predictions
from service.serving.predictions.answer_logging import Logged


def follower(app: App, telemetry: ServingTelemetry, stop: threading.Event) -> Follower:
    """Of every model in the file."""
    names = [model.name for model in app.settings.models]
    if not names:
        msg = "found no models in the configuration, expected at least one under `models:`; see `headrace init`"
        raise ConfigurationError(msg)
    return Follower(app.services, app.registry.standings, names, telemetry, stop)


def intake(app: App) -> Ingest:
    """The way into the topics of every model; closed last, when no request is left."""
    return Ingest(app.services, app.settings.models)


def load(settings: Server) -> Load:
    """The limits of one worker."""
    return Load(settings.max_body, settings.timeout, settings.concurrency)


def access_log(settings: Settings) -> AccessLog | None:
    """None where nobody wants to read it."""
    wanted = settings.server.access_log and settings.log.level in {"debug", "info"}
    return AccessLog(as_json=settings.log.format == "json") if wanted else None


def gate_of(app: App) -> Gate:
    """Who is let in, as `server.auth` and `server.rate` say."""
    given = app.settings.server
    return OpenGate() if given.auth == "none" else TokenGate(app.registry.tokens, given.rate)


def asgi(found: Sequence[BaseRoute], telemetry: ServerTelemetry, *, load: Load, log: AccessLog | None) -> ASGIApp:
    """The routes, accounted for and limited."""
    return application(found, load=load, accounting=Accounting(telemetry, log))


def routes(
    app: App,
    following: Follower,
    ingest: Ingest,
    *,
    desk: Desk,
    telemetry: ServerTelemetry,
    metrics: Callable[[], bytes],
) -> list[BaseRoute]:
    """Every route of the server; what needs a token goes through one gate."""
    given = app.settings.server
    gate = gate_of(app)
    logged = Logged(ServedLog(app.services, ingest), telemetry, timeout_s=given.timeout)
    return [
        *predictions.routes(following, OpenGate() if given.open_predictions else gate, telemetry, logged),
        *ingestion.routes(ingest, gate, telemetry, timeout_s=given.timeout),
        *probes.routes(following, metrics),
        Mount("/api/v1", admin_api(app, gate, desk)),
        documentation(),
    ]
