"""The process of one challenger; its trainer starts it as `python -m service.cli.challenging`."""

import argparse
import secrets
import threading
from pathlib import Path

import structlog

from service.bootstrap import open_app
from service.cli.context import Exit, set_up_logging
from service.cli.process.exit import leave
from service.cli.process.signals import stopping
from service.cli.roles.job_child import die_with, sentence
from service.config import load
from service.domain.registry.challenger import Fault
from service.domain.registry.registry import LineageId
from service.errors import OtherReleaseError, UnfitError
from service.operations.learning_loop.opening import LearnOptions
from service.scheduling.child_process import last_words

_log = structlog.get_logger(__name__)


def main() -> int:
    """The exit code; why it ended goes to the trainer."""
    given = _arguments()
    if not die_with(given.trainer):
        return Exit.FAILED
    stop = threading.Event()
    try:
        settings = load(given.config)
        set_up_logging(settings)
        with stopping(stop), open_app(settings) as app:
            options = LearnOptions(actor="trainer", wait_for_lease=True, challenger=LineageId(given.lineage))
            app.host([given.model], options, stop=stop, nonce=secrets.token_hex(6)).run()
    except Exception as error:  # noqa: BLE001 - whatever it is, the trainer is told and the log has the rest
        last_words(given.words, sentence(error), failure=_fault(error))
        _log.exception("challenger_failed", lineage=given.lineage)
        return Exit.FAILED
    return Exit.DONE


def _fault(error: Exception) -> Fault:
    """Return what its end means for the challenger."""
    if isinstance(error, OtherReleaseError):
        return Fault.OTHER_RELEASE
    return Fault.UNFIT if isinstance(error, UnfitError) else Fault.CRASH


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="headrace challenger")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--model", required=True)
    for name in ("lineage", "words", "trainer"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    leave(main())
