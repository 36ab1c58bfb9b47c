"""Executes a session's commands in another thread: that session waits, the other sessions go on learning."""

from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field

from service.domain.registry.registry import Lease, LineageId
from service.operations.commands.execute import execute_command
from service.operations.learning_loop.session import Session
from service.operations.services import Services


@dataclass(frozen=True, slots=True)
class CommandRunner:
    """Runs commands on a thread pool, at most one thread per session.

    While a session's commands run, only that thread may use the session, until `finished` returns its lease.
    """

    services: Services
    pool: Executor
    _running: dict[LineageId, "Future[Lease]"] = field(default_factory=dict)

    @property
    def busy(self) -> bool:
        """Return whether the commands of any session are running."""
        return bool(self._running)

    def start(self, session: Session) -> None:
        """Start executing the session's pending commands."""
        self._running[session.lease.lineage] = self.pool.submit(self._carry_out, session)

    def has(self, session: Session) -> bool:
        """Return whether the commands of this session are running."""
        return session.lease.lineage in self._running

    def finished(self, session: Session) -> Lease | None:
        """Return the lease to continue with, or None while the commands still run; raise what a command raised."""
        running = self._running[session.lease.lineage]
        if not running.done():
            return None
        del self._running[session.lease.lineage]
        return running.result()

    def wait(self) -> None:
        """Block until no command is running."""
        wait(self._running.values())

    def _carry_out(self, session: Session) -> Lease:
        commands, session.commands = session.commands, []
        for command in commands:
            session.commit_now()
            lease = execute_command(self.services, command, session.lease, session=session)
            session.commit_now()
            if lease.lineage != session.lease.lineage:
                return lease
        return session.lease
