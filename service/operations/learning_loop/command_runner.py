"""Carries out the commands of a session in another thread; the session waits meanwhile, the others go on."""

from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field

from service.domain.registry.registry import Lease, LineageId
from service.operations.commands.execute import execute_command
from service.operations.learning_loop.session import Session
from service.operations.services import Services


@dataclass(frozen=True, slots=True)
class CommandRunner:
    """At most one thread works for a session; nobody else may touch the session until `finished` has returned."""

    services: Services
    pool: Executor
    _running: dict[LineageId, "Future[Lease]"] = field(default_factory=dict)

    @property
    def busy(self) -> bool:
        """Whether any session's commands are under way."""
        return bool(self._running)

    def start(self, session: Session) -> None:
        """Begin to carry out what the session was asked for."""
        self._running[session.lease.lineage] = self.pool.submit(self._carry_out, session)

    def has(self, session: Session) -> bool:
        """Return whether the session's commands are under way."""
        return session.lease.lineage in self._running

    def finished(self, session: Session) -> Lease | None:
        """Return the lease to go on with, or None while the commands are under way; raises what a command raised."""
        running = self._running[session.lease.lineage]
        if not running.done():
            return None
        del self._running[session.lease.lineage]
        return running.result()

    def wait(self) -> None:
        """Wait until nothing is under way."""
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
