"""Renews the leases of all sessions, apart from checkpoints: a slow upload must not expire them."""

import threading
from collections.abc import Callable, Sequence
from typing import Self

import structlog

from service.errors import LeaseLostError, UnavailableError
from service.operations.session import Session
from service.ports import Leases

_log = structlog.get_logger(__name__)


class LeaseKeeper:
    """A thread; a session whose lease is lost is told so and stops at its next step."""

    def __init__(self, leases: Leases, sessions: Callable[[], Sequence[Session]], *, ttl_s: float) -> None:
        self._leases = leases
        self._sessions = sessions
        self._ttl_s = ttl_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def __enter__(self) -> Self:
        """Start renewing."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop renewing."""
        self._stop.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while not self._stop.wait(self._ttl_s / 3):
            for session in self._sessions():
                self._renew(session)

    def _renew(self, session: Session) -> None:
        try:
            self._leases.renew(session.lease, ttl_s=self._ttl_s)
        except LeaseLostError:
            session.lease_lost = True
        except UnavailableError as error:
            _log.info("lease_not_renewed", model=session.spec.name, error=str(error))
