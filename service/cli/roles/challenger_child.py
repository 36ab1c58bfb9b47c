"""The process of one challenger, which its trainer starts with `python -m`."""

import argparse
import secrets
import threading
from pathlib import Path

import structlog

from service.bootstrap import open_app
from service.cli.context import ExitCode, set_up_logging
from service.cli.process.exit import exit_process
from service.cli.process.signals import stop_on_signals
from service.cli.roles.job_child import describe_error, die_with_trainer
from service.config import load_settings
from service.domain.registry.challenger import ChallengerFailure
from service.domain.registry.registry import LineageId
from service.errors import ChallengerUnfitError, OtherReleaseError
from service.operations.learning_loop.opening import LearnOptions
from service.scheduling.child_process import report_failure

_log = structlog.get_logger(__name__)


def run_challenger_child() -> int:
    """Learn the challenger's lineage, report a failure to the trainer, and return the exit code."""
    arguments = _parse_arguments()
    if not die_with_trainer(arguments.trainer):
        return ExitCode.FAILED
    stop = threading.Event()
    try:
        settings = load_settings(arguments.config)
        set_up_logging(settings)
        with stop_on_signals(stop), open_app(settings) as app:
            options = LearnOptions(actor="trainer", wait_for_lease=True, challenger=LineageId(arguments.lineage))
            app.worker([arguments.model], options, stop=stop, nonce=secrets.token_hex(6)).run()
    except Exception as error:  # noqa: BLE001 - whatever it is, the trainer is told and the log has the rest
        report_failure(arguments.words, describe_error(error), failure=_fault(error))
        _log.exception("challenger_failed", lineage=arguments.lineage)
        return ExitCode.FAILED
    return ExitCode.DONE


def _fault(error: Exception) -> ChallengerFailure:
    """Return what an error means for the challenger."""
    if isinstance(error, OtherReleaseError):
        return ChallengerFailure.OTHER_RELEASE
    return ChallengerFailure.UNFIT if isinstance(error, ChallengerUnfitError) else ChallengerFailure.CRASH


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="headrace challenger")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--model", required=True)
    for name in ("lineage", "words", "trainer"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    exit_process(run_challenger_child())
