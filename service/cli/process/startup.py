"""Wait for the registry when a role starts, and report that as its readiness."""

import random
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import structlog

from service.bootstrap import App, open_app
from service.config import Settings
from service.errors import UnavailableError
from service.ports.telemetry import RoleTelemetry

_log = structlog.get_logger(__name__)


class Startup:
    """Waits for the registry with growing pauses, and says why the role is not ready."""

    def __init__(self, settings: Settings, telemetry: RoleTelemetry, stop: threading.Event) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._stop = stop
        self._reason = "the registry is not opened yet"
        self.not_ready: Callable[[], Sequence[str]] = lambda: [self._reason]

    def reasons(self) -> Sequence[str]:
        """Return why the role is not ready at the present stage of its start."""
        return self.not_ready()

    def wait_for_app(self, stack: ExitStack) -> App | None:
        """Return the object graph once the registry answers, or None if stopped before that."""
        wait_s = 0.2
        while not self._stop.is_set():
            try:
                return stack.enter_context(open_app(self._settings, telemetry=self._telemetry))
            except UnavailableError as error:
                self._reason = str(error)
                self._telemetry.service_unreachable("database")
                _log.info("waiting_for_registry", reason=self._reason)
            self._stop.wait(wait_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
            wait_s = min(wait_s * 2, 5.0)
        return None
