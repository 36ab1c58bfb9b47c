"""Keep roles alive: import once, fork a child for each role, and restart those that die."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from service.cli.context import ExitCode
from service.cli.process.exit import exit_process
from service.cli.process.signals import die_with_parent, stop_on_signals

_log = structlog.get_logger(__name__)

FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 5.0
HEALTHY_AFTER_S = 10.0
MAX_QUICK_DEATHS = 12
GRACE_S = 10.0


@dataclass
class RoleProcess:
    """The process of one role."""

    role: str
    pid: int
    started_at: float


@dataclass
class Supervisor:
    """Runs each role's function in a child process; the function returns the exit code.

    Roles in `optional_roles` never end the others: they are restarted for ever, at last every few seconds. A role whose
    first start exits with `ExitCode.USAGE` is not restarted, because its configuration would be wrong again.
    """

    roles: Mapping[str, Callable[[], int]]
    optional_roles: Mapping[str, Callable[[], int]] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    _children: dict[int, RoleProcess] = field(default_factory=dict)
    _quick_deaths: dict[str, int] = field(default_factory=dict)
    _restart_at: dict[str, float] = field(default_factory=dict)

    def run(self) -> int:
        """Run until stopped, or until a role refuses to run or keeps dying quickly; return the exit code."""
        with stop_on_signals(self.stop):
            for role in (*self.roles, *self.optional_roles):
                self._fork(role)
            code = self._watch()
            self._stop_children()
        return code

    def _watch(self) -> int:
        while not self.stop.is_set():
            self._restart_due_roles()
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                self.stop.wait(0.05)
                continue
            child = self._children.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            if child.role in self.optional_roles:
                self._schedule_restart(child, code)
                continue
            if code in (ExitCode.DONE, ExitCode.REFUSED) or (
                code == ExitCode.USAGE and child.role not in self._quick_deaths
            ):
                return code
            if not self._restart(child, code):
                return ExitCode.FAILED
        return ExitCode.DONE

    def _schedule_restart(self, child: RoleProcess, code: int) -> None:
        """Restart an optional role later, without waiting for it here."""
        wait_s = (
            MAX_BACKOFF_S if code in (ExitCode.DONE, ExitCode.REFUSED) else min(self._backoff_s(child), MAX_BACKOFF_S)
        )
        _log.warning("role_restarts", role=child.role, exit_code=code, wait_s=wait_s)
        self._restart_at[child.role] = time.monotonic() + wait_s

    def _restart_due_roles(self) -> None:
        for role in [role for role, due in self._restart_at.items() if time.monotonic() >= due]:
            del self._restart_at[role]
            self._fork(role)

    def _backoff_s(self, child: RoleProcess) -> float:
        """Return the seconds before the next start, which grow with the number of quick deaths."""
        quick = time.monotonic() - child.started_at < HEALTHY_AFTER_S
        deaths = self._quick_deaths[child.role] = self._quick_deaths.get(child.role, 0) + 1 if quick else 1
        return float(FIRST_BACKOFF_S * 2 ** min(max(deaths - 4, 0), 10))

    def _restart(self, child: RoleProcess, code: int) -> bool:
        wait_s = min(self._backoff_s(child), MAX_BACKOFF_S)
        deaths = self._quick_deaths[child.role]
        if deaths > MAX_QUICK_DEATHS:
            _log.error("role_failed_too_often", role=child.role, deaths=deaths)
            return False
        _log.warning("role_restarts", role=child.role, exit_code=code, wait_s=wait_s)
        if not self.stop.wait(wait_s):
            self._fork(child.role)
        return True

    def _fork(self, role: str) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._run_child(role, parent)
        self._children[pid] = RoleProcess(role, pid, time.monotonic())

    def _run_child(self, role: str, parent: int) -> None:
        """Run the role in the child, which dies with its parent."""
        die_with_parent(signal.SIGTERM)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        code = ExitCode.FAILED if os.getppid() != parent else {**self.roles, **self.optional_roles}[role]()
        exit_process(code)

    def _stop_children(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + GRACE_S
        while self._children and time.monotonic() < until:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            self._children.pop(pid, None)
            time.sleep(0.02)
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
