"""The process that answers one query, which its server starts with `python -m`."""

import argparse
from pathlib import Path

import msgspec

from service.bootstrap import open_app
from service.bootstrap.queries import load_server_settings
from service.cli.context import ExitCode, set_up_logging
from service.cli.process.exit import exit_process
from service.cli.roles.job_child import die_with_trainer
from service.config.expressions import require_buildable
from service.domain.access.query import QueryKind
from service.domain.jsonable import to_jsonable
from service.domain.specification.model import ModelSpec
from service.errors import HeadraceError
from service.operations.inference.queries import run_query
from service.scheduling.query_processes import read_query, write_refusal, write_result


def run_query_child() -> int:
    """Run the query, write the result or the refusal into the folder, and return the exit code."""
    arguments = _parse_arguments()
    if not die_with_trainer(arguments.server):
        return ExitCode.FAILED
    try:
        write_result(arguments.folder, _run_query(arguments.config, arguments.folder))
    except HeadraceError as error:
        write_refusal(arguments.folder, error)
        return ExitCode.REFUSED
    return ExitCode.DONE


def _run_query(config: Path, folder: Path) -> bytes:
    """Return the result as JSON, in which NaN and infinite numbers are null."""
    query, settings = read_query(folder), load_server_settings(config)
    set_up_logging(settings, level="warning")
    if query.kind is QueryKind.WHAT_IF:
        require_buildable(ModelSpec.model_validate(query.spec))
    with open_app(settings) as app:
        return msgspec.json.encode(to_jsonable(run_query(app.services, query)), enc_hook=str)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="headrace inquiry")
    for name in ("config", "folder"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--server", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    exit_process(run_query_child())
