"""The server as one ASGI application, put together from lists of routes."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from service.serving.limits import Limits, Load
from service.serving.problems import HANDLERS
from service.serving.requests import Accounting


def application(routes: Sequence[BaseRoute], *, load: Load, accounting: Accounting) -> ASGIApp:
    """Every request is accounted for, what the limits refuse, too."""
    app = Starlette(routes=list(routes), exception_handlers=dict(HANDLERS))
    return accounting.around(Limits(app, load))
