"""Keeps the roles alive: imports once, forks a child a role, and restarts the ones that die."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from service.cli.context import Exit
from service.cli.process.exit import leave
from service.cli.process.signals import die_with_parent, stopping

_log = structlog.get_logger(__name__)

RESTART_S = 0.1
LONGEST_S = 5.0
SOUND_S = 10.0
MOST_QUICK_DEATHS = 12
GRACE_S = 10.0


@dataclass
class Child:
    """One role's process."""

    role: str
    pid: int
    started: float


@dataclass
class Supervisor:
    """Roles by name, each with what its child runs; `run` returns the exit code.

    Those in `beside` end nothing but themselves: they are started again for ever, at last every few seconds.
    A child that finds its configuration wrong at the first start (Exit.USAGE) will find it wrong at the next one too.
    """

    roles: Mapping[str, Callable[[], int]]
    beside: Mapping[str, Callable[[], int]] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    _children: dict[int, Child] = field(default_factory=dict)
    _quick: dict[str, int] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)

    def run(self) -> int:
        """Until stopped, or until a role refuses to run or dies too quickly too often."""
        with stopping(self.stop):
            for role in (*self.roles, *self.beside):
                self._fork(role)
            code = self._watch()
            self._end()
        return code

    def _watch(self) -> int:
        while not self.stop.is_set():
            self._start_again()
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                self.stop.wait(0.05)
                continue
            child = self._children.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            if child.role in self.beside:
                self._put_off(child, code)
                continue
            if code in (Exit.DONE, Exit.REFUSED) or (code == Exit.USAGE and child.role not in self._quick):
                return code
            if not self._restart(child, code):
                return Exit.FAILED
        return Exit.DONE

    def _put_off(self, child: Child, code: int) -> None:
        """A role beside the others comes back later, and nobody waits for it."""
        wait_s = LONGEST_S if code in (Exit.DONE, Exit.REFUSED) else min(self._pause(child), LONGEST_S)
        _log.warning("role_restarts", role=child.role, exit_code=code, wait_s=wait_s)
        self._due[child.role] = time.monotonic() + wait_s

    def _start_again(self) -> None:
        for role in [role for role, due in self._due.items() if time.monotonic() >= due]:
            del self._due[role]
            self._fork(role)

    def _pause(self, child: Child) -> float:
        """Longer the more often the role has died quickly."""
        quick = time.monotonic() - child.started < SOUND_S
        deaths = self._quick[child.role] = self._quick.get(child.role, 0) + 1 if quick else 1
        return float(RESTART_S * 2 ** min(max(deaths - 4, 0), 10))

    def _restart(self, child: Child, code: int) -> bool:
        wait_s = min(self._pause(child), LONGEST_S)
        deaths = self._quick[child.role]
        if deaths > MOST_QUICK_DEATHS:
            _log.error("role_gives_up", role=child.role, deaths=deaths)
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
            self._be(role, parent)
        self._children[pid] = Child(role, pid, time.monotonic())

    def _be(self, role: str, parent: int) -> None:
        """In the child: die with the parent, run the role, and leave."""
        die_with_parent(signal.SIGTERM)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        code = Exit.FAILED if os.getppid() != parent else {**self.roles, **self.beside}[role]()
        leave(code)

    def _end(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + GRACE_S
        while self._children and time.monotonic() < until:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            self._children.pop(pid, None)
            time.sleep(0.02)
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
