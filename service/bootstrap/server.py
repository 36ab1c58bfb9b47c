"""The server's parts, from the settings."""

import threading
from collections.abc import Callable

from starlette.types import ASGIApp

from service.bootstrap import App
from service.config.sections import Server
from service.errors import ConfigurationError
from service.operations.follow import Follower
from service.ports import ServingTelemetry
from service.serving import predictions, probes
from service.serving.access import OpenGate
from service.serving.application import application
from service.serving.limits import Load
from service.serving.requests import Accounting


def follower(app: App, telemetry: ServingTelemetry, stop: threading.Event) -> Follower:
    """Of every model in the file."""
    names = [model.name for model in app.settings.models]
    if not names:
        msg = "found no models in the configuration, expected at least one under `models:`; see `headrace init`"
        raise ConfigurationError(msg)
    return Follower(app.services, app.registry.standings, names, telemetry, stop)


def load(settings: Server) -> Load:
    """The limits of one worker."""
    return Load(settings.max_body, settings.timeout, settings.concurrency)


def asgi(
    app: App, following: Follower, telemetry: ServingTelemetry, *, load: Load, metrics: Callable[[], bytes]
) -> ASGIApp:
    """Every route of the server."""
    gate = OpenGate()
    routes = [
        *predictions.routes(following, gate, telemetry),
        *probes.routes(following, metrics),
    ]
    accounting = Accounting(telemetry, log=app.settings.server.access_log)
    return application(routes, load=load, accounting=accounting)
