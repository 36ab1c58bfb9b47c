"""Rollbacks asked for again and again, while whoever carries them out is killed."""

import random
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from service.bootstrap import App
from service.domain.registry.registry import CommandKind, CommandStatus
from service.errors import NotFoundError
from tests.acceptance.harness import Deployment, kill, wait_until
from tests.acceptance.storms import DEATHS_OF_A_DAEMON, SOON_S, EventPublisher, Learners

BEFORE_S, WITHIN_S, AFTER_S = 0.1, 0.05, 0.3
"""How long one lives on, at most: after a rollback is asked for, after it is begun, after it is done."""
RECOVERING = 0.3
"""The share of deaths after a rollback that may come while a learner starts, and not while it learns."""
BY_COMMAND_LINE_ALONE = 2 * DEATHS_OF_A_DAEMON // 3
"""The rollback asked for when the second daemon has just been killed, so that the command line carries it out."""
BY_COMMAND_LINE = BY_COMMAND_LINE_ALONE + 3
MOST_ROLLBACKS = 40


@dataclass(frozen=True)
class RequestedCommand:
    """A command by its number, and for a rollback the version to go back to."""

    number: int
    kind: CommandKind
    target_version: int | None = None

    @property
    def reason(self) -> str:
        """One that no other has."""
        return f"asked as number {self.number}"


@dataclass(frozen=True)
class Death:
    """How many events were left to learn then, and whether a learner died that had opened its session."""

    left: int
    learning: bool


@dataclass
class RollbackStorm:
    """Asks for one rollback after the other, each with three deaths."""

    deployment: Deployment
    app: App
    supply: EventPublisher
    chance: random.Random
    asked: list[RequestedCommand] = field(default_factory=list)
    deaths: list[Death] = field(default_factory=list)

    @property
    def learning(self) -> int:
        """How many deaths hit a learner that was learning and had more to learn."""
        return sum(death.learning and death.left > 0 for death in self.deaths)

    def rage(self, rollbacks: int, *, learning: int, within: int) -> int:
        """All of it, then one learner that learns what is left; how many rollbacks there were.

        They go on until so many deaths have hit a learner at work, and so many a command in the middle.
        """
        self._learners = Learners(self.deployment)
        self._patient: list[subprocess.Popen[bytes]] = []
        number = 0
        while number < rollbacks or self.learning < learning or self.deaths_within() < within:
            assert number < MOST_ROLLBACKS, f"the storm ran dry, or hit learners that only started: {self.deaths}"
            if number == BY_COMMAND_LINE_ALONE:
                self._ask_alone(number)
            else:
                self._ask(number)
            self._kill_around(self.asked[-1])
            number += 1
        self._learners.living()
        wait_until(lambda: not self.supply.left)
        self._learners.end()
        assert [one.wait(timeout=120) for one in self._patient] == [0], self.deployment.log()[-3000:]
        return number

    def deaths_within(self) -> int:
        """How often a learner died between the beginning and the end of a command."""
        log = self.deployment.log()
        return log.count("command_started") - log.count("command_done")

    def _ask(self, number: int) -> None:
        """Of a learner, now and then for a snapshot before it; and the death before the rollback, or soon after."""
        if number == BY_COMMAND_LINE:
            self._patient.append(self._command_line(self._rollback(number)))
            self._learners.living()
            self._until_known(self.asked[-1])
        else:
            learned = self.deployment.learned()
            self._until(lambda: self.deployment.learned() > learned)
            if number % 3 == 0:
                self._request(RequestedCommand(len(self.asked) + 1, CommandKind.SNAPSHOT))
            self._request(self._rollback(number))
        self._die(BEFORE_S)

    def _ask_alone(self, number: int) -> None:
        """Of the command line while nobody learns; it is what dies in the middle."""
        asking = self._command_line(self._rollback(number))
        self._until_known(self.asked[-1])
        time.sleep(self.chance.uniform(0, WITHIN_S))
        kill(asking)
        self.deaths.append(Death(self.supply.left, learning=False))

    def _kill_around(self, rollback: RequestedCommand) -> None:
        """Once while a learner carries it out, unless it is done by then, and once after it."""
        begun = re.compile(rf"command_started +command={rollback.number} ")
        living = self._learners.living()
        self._until(lambda: begun.search(self.deployment.log()) or self._done(rollback))
        self._die(WITHIN_S, living)
        self._until(lambda: self._done(rollback))
        if self.chance.random() > RECOVERING:
            self._until(lambda: self._learners.learning)
        self._die(AFTER_S)

    def _rollback(self, number: int) -> RequestedCommand:
        """To any version there is, or will be when this command's turn comes; each third time to a rollback's."""
        kinds = [None, *(one.kind for one in self.asked)]
        of_rollbacks = [version for version, kind in enumerate(kinds, start=1) if kind is CommandKind.ROLLBACK]
        goals = of_rollbacks if number % 3 == 2 else range(1, len(kinds) + 1)
        return RequestedCommand(len(self.asked) + 1, CommandKind.ROLLBACK, self.chance.choice(goals))

    def _request(self, wish: RequestedCommand) -> None:
        """What the command line does first where a learner runs."""
        arguments = {"reason": wish.reason, **({"to": str(wish.target_version)} if wish.target_version else {})}
        command = self.app.registry.commands.request("phishing", wish.kind, arguments=arguments, actor="test")
        assert command.id == wish.number
        self.asked.append(wish)

    def _command_line(self, wish: RequestedCommand) -> "subprocess.Popen[bytes]":
        options = ("--to", str(wish.target_version), "--reason", wish.reason, "--wait")
        self.asked.append(wish)
        return self.deployment.start("model", "rollback", "phishing", *options)

    def _die(self, within_s: float, living: int | None = None) -> None:
        living = living or self._learners.living()
        time.sleep(self.chance.uniform(0, within_s))
        learning = self._learners.kill(living)
        self.deaths.append(Death(self.supply.left, learning))

    def _until(self, reached: Callable[[], object]) -> None:
        """While a learner lives, and has enough to learn."""

        def looked() -> object:
            self.supply.keep_ahead()
            return reached()

        self._learners.living()
        wait_until(looked, every_s=SOON_S)

    def _until_known(self, wish: RequestedCommand) -> None:
        """A command line takes long to start; nothing is published meanwhile."""
        wait_until(lambda: self._status(wish), every_s=SOON_S)

    def _done(self, wish: RequestedCommand) -> bool:
        return self._status(wish) is CommandStatus.DONE

    def _status(self, wish: RequestedCommand) -> CommandStatus | None:
        try:
            return self.app.registry.commands.get(wish.number).status
        except NotFoundError:
            return None
