"""The process of one training job; its trainer starts it as `python -m service.cli.training`."""

import argparse
import os
import signal
from pathlib import Path

import structlog

from service.bootstrap import open_app
from service.bootstrap.job import Retraining
from service.cli.context import Exit, set_up_logging
from service.cli.process.exit import leave
from service.cli.process.signals import die_with_parent
from service.config import load
from service.domain.training.jobs import Failure
from service.errors import HeadraceError, RefusedError, UnavailableError
from service.operations.retraining.job import carry_out
from service.scheduling.child_process import last_words

_log = structlog.get_logger(__name__)


def main() -> int:
    """The exit code; the reason of a failure goes to the trainer."""
    given = _arguments()
    if not die_with(given.trainer):
        return Exit.FAILED
    try:
        settings = load(given.config)
        set_up_logging(settings)
        with open_app(settings) as app:
            carry_out(app.services, given.job, Retraining(app.services))
    except HeadraceError as error:
        failure = Failure.INTERRUPTED if isinstance(error, UnavailableError) else Failure.EXCEPTION
        last_words(given.words, str(error), failure=failure)
        _log.error("job_failed", job=given.job, reason=str(error), exc_info=error.__cause__ is not None)
        return Exit.REFUSED if isinstance(error, RefusedError) else Exit.FAILED
    except Exception as error:  # noqa: BLE001 - whatever it is, the trainer is told and the log has the rest
        last_words(given.words, sentence(error), failure=Failure.EXCEPTION)
        _log.exception("job_failed", job=given.job)
        return Exit.FAILED
    return Exit.DONE


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="headrace training job")
    parser.add_argument("--config", type=Path, required=True)
    for name in ("job", "words", "trainer"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return parser.parse_args()


def die_with(trainer: int) -> bool:
    """Be killed when the trainer dies; False where it is dead already."""
    die_with_parent(signal.SIGKILL)
    return os.getppid() == trainer


def sentence(error: Exception) -> str:
    """What it says, with its type where the message alone may say nothing."""
    return str(error) if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    leave(main())
