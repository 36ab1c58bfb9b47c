"""The process that answers one inquiry; its server starts it as `python -m service.cli.inquiring`."""

import argparse
from pathlib import Path

import msgspec

from service.bootstrap import open_app
from service.bootstrap.queries import settings_in
from service.cli.context import Exit, set_up_logging
from service.cli.process.exit import leave
from service.cli.roles.job_child import die_with
from service.config.expressions import require_buildable
from service.domain.access.query import InquiryKind
from service.domain.jsonable import plain
from service.domain.specification.model import ModelSpec
from service.errors import HeadraceError
from service.operations.inference.queries import answered
from service.scheduling.query_processes import question, refuse, reply


def main() -> int:
    """The exit code; the answer, or the refusal, is in the folder."""
    given = _arguments()
    if not die_with(given.server):
        return Exit.FAILED
    try:
        reply(given.folder, _answer(given.config, given.folder))
    except HeadraceError as error:
        refuse(given.folder, error)
        return Exit.REFUSED
    return Exit.DONE


def _answer(config: Path, folder: Path) -> bytes:
    """What is not finite is null."""
    inquiry, settings = question(folder), settings_in(config)
    set_up_logging(settings, level="warning")
    if inquiry.kind is InquiryKind.WHAT_IF:
        require_buildable(ModelSpec.model_validate(inquiry.spec))
    with open_app(settings) as app:
        return msgspec.json.encode(plain(answered(app.services, inquiry)), enc_hook=str)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="headrace inquiry")
    for name in ("config", "folder"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--server", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    leave(main())
