"""Queries that a server answers from its configuration file or in a process of its own."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from service.bootstrap import configured_spec
from service.config import Settings, load_settings
from service.domain.specification.model import ModelSpec
from service.errors import ConfigurationError
from service.scheduling.query_processes import QueryLimits, QueryRunner

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServerQueries:
    """Holds the server's configuration file, and the runner of the processes that read it."""

    file: Path
    runner: QueryRunner

    def spec(self, model: str) -> ModelSpec:
        """Return the model's specification as the file is now; raise NotFoundError, which names the known models."""
        return configured_spec(load_server_settings(self.file), model)


def server_queries(settings: Settings, file: Path, *, command: Sequence[str]) -> ServerQueries:
    """Return the queries, with the limits of the settings; `command` starts the process that answers a query."""
    given = settings.server
    limits = QueryLimits(
        lambda folder: [*command, *_arguments(file, folder)], given.inquiry_timeout, given.inquiry_memory
    )
    return ServerQueries(file, QueryRunner(limits))


def load_server_settings(file: Path) -> Settings:
    """Load the file; raise ConfigurationError when it is invalid.

    Only the log says what is wrong, because the message could contain secrets and goes to the client.
    """
    try:
        return load_settings(file)
    except ConfigurationError as error:
        _log.warning("configuration_unreadable", file=str(file), error=str(error))
        msg = (
            "found something wrong in the configuration file of this server, expected one that `headrace check` finds "
            "good; the server's log says what it is"
        )
        raise ConfigurationError(msg) from error


def _arguments(file: Path, folder: Path) -> Sequence[str]:
    return ("--config", str(file), "--folder", str(folder), "--server", str(os.getpid()))
