"""The process of one training job, which its trainer starts with `python -m`."""

import argparse
import os
import signal
from pathlib import Path

import structlog

from service.bootstrap import open_app
from service.bootstrap.job import PolicyRetrainer
from service.cli.context import ExitCode, set_up_logging
from service.cli.process.exit import exit_process
from service.cli.process.signals import die_with_parent
from service.config import load_settings
from service.domain.training.jobs import JobFailure
from service.errors import HeadraceError, RefusedError, UnavailableError
from service.operations.retraining.job import run_training_job
from service.scheduling.child_process import report_failure

_log = structlog.get_logger(__name__)


def run_job_child() -> int:
    """Run the job, report a failure to the trainer, and return the exit code."""
    arguments = _parse_arguments()
    if not die_with_trainer(arguments.trainer):
        return ExitCode.FAILED
    try:
        settings = load_settings(arguments.config)
        set_up_logging(settings)
        with open_app(settings) as app:
            run_training_job(app.services, arguments.job, PolicyRetrainer(app.services))
    except HeadraceError as error:
        failure = JobFailure.INTERRUPTED if isinstance(error, UnavailableError) else JobFailure.EXCEPTION
        report_failure(arguments.words, str(error), failure=failure)
        _log.error("job_failed", job=arguments.job, reason=str(error), exc_info=error.__cause__ is not None)
        return ExitCode.REFUSED if isinstance(error, RefusedError) else ExitCode.FAILED
    except Exception as error:  # noqa: BLE001 - whatever it is, the trainer is told and the log has the rest
        report_failure(arguments.words, describe_error(error), failure=JobFailure.EXCEPTION)
        _log.exception("job_failed", job=arguments.job)
        return ExitCode.FAILED
    return ExitCode.DONE


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="headrace training job")
    parser.add_argument("--config", type=Path, required=True)
    for name in ("job", "words", "trainer"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return parser.parse_args()


def die_with_trainer(trainer: int) -> bool:
    """Have this process killed when the process that started it dies; return False if it is dead already."""
    die_with_parent(signal.SIGKILL)
    return os.getppid() == trainer


def describe_error(error: Exception) -> str:
    """Return the error's message, with its type if it is not one of our own errors."""
    return str(error) if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    exit_process(run_job_child())
