"""Learners that are killed again and again, and a stream that does not run dry meanwhile."""

import os
import signal
import subprocess
import time

from service.ports.stream import Sink
from tests.acceptance.harness import Deployment, kill, phishing_events, terminate, wait_until
from tests.acceptance.processes import children, is_gone, learner_of
from tests.acceptance.rederived import with_opposite_labels

DEATHS_OF_A_DAEMON = 6
"""More, and its supervisor would wait longer and longer before it starts another learner."""
SOON_S = 0.005
LOOK_EVERY_S = 0.05


class Learners:
    """The learners of a daemon, one after the other; when several have died the daemon is killed as well."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._daemon: subprocess.Popen[bytes] | None = None
        self._deaths = 0
        self._dead = 0
        self._orphans: list[int] = []

    @property
    def learning(self) -> bool:
        """Whether the newest has opened its session."""
        log = self._deployment.log()
        return log.rfind("session_opened") > log.rfind("learner_started")

    def living(self) -> int:
        """The process that learns; starts a daemon where there is none, and waits for its learner."""
        if self._daemon is None:
            self._daemon, self._deaths = self._deployment.start("run"), 0
        wait_until(lambda: learner_of(self._deployment) != self._dead, every_s=SOON_S)
        return learner_of(self._deployment)

    def kill(self, pid: int | None = None) -> bool:
        """SIGKILL the one that lives, at once where its `pid` is known, and wait until it is gone.

        Whether it had opened its session.
        """
        self._dead = pid or self.living()
        os.kill(self._dead, signal.SIGKILL)
        learning = self.learning
        wait_until(lambda: is_gone(self._dead), every_s=SOON_S)
        self._deaths += 1
        if self._deaths == DEATHS_OF_A_DAEMON and self._daemon is not None:
            self._orphans += children(self._daemon)
            kill(self._daemon)
            self._daemon = None
        return learning

    def end(self) -> None:
        """SIGTERM to the daemon, where there is one; no role has outlived a daemon that was killed."""
        if self._daemon is not None:
            assert terminate(self._daemon) == 0, self._deployment.log()[-3000:]
            self._daemon = None
        wait_until(lambda: all(map(is_gone, self._orphans)))


class EventPublisher:
    """Publishes events as they are needed, in turn sound and misleading, so that some are always left to learn.

    Long random ids soon make the state too large to live in the transaction, so that it is stored apart.
    """

    def __init__(self, deployment: Deployment, sink: Sink, *, partitions: int, ahead: int, chunk: int = 2500) -> None:
        self._deployment = deployment
        self._sink = sink
        self._topic = deployment.model["events"]
        self._keyed = partitions > 1
        self._ahead = ahead
        self._chunk = chunk
        self._checked_at_s = 0.0
        self.published = 0
        sink.create(self._topic, partitions=partitions)

    @property
    def left(self) -> int:
        """How many events no commit has learned yet."""
        return self.published - self._deployment.learned()

    def keep_ahead(self) -> None:
        """Publish until enough is left to learn; looks only now and then."""
        if time.monotonic() - self._checked_at_s < LOOK_EVERY_S:
            return
        while self.left < self._ahead:
            first = self.published
            values = phishing_events(self._chunk, first=first, long_ids=True)
            values = with_opposite_labels(values) if first // self._chunk % 2 else values
            keys = [str(first + i).encode() for i in range(self._chunk)] if self._keyed else None
            self._sink.append(self._topic, values, keys=keys)
            self.published += self._chunk
        self._checked_at_s = time.monotonic()
