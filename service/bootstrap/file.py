"""The configuration file as it is now, for who asks over HTTP."""

from pathlib import Path

import structlog

from service.bootstrap import spec_of
from service.config import Settings, load
from service.domain.specification import ModelSpec
from service.errors import ConfigurationError

_log = structlog.get_logger(__name__)


def settings_in(file: Path) -> Settings:
    """ConfigurationError where something is wrong with it; what that is only the log tells: secrets may stand there."""
    try:
        return load(file)
    except ConfigurationError as error:
        _log.warning("configuration_unreadable", file=str(file), error=str(error))
        msg = (
            "found something wrong in the configuration file of this server, expected one that `headrace check` finds "
            "good; the server's log says what it is"
        )
        raise ConfigurationError(msg) from error


def spec_in(file: Path, model: str) -> ModelSpec:
    """The file's specification of the model; NotFoundError names those there are."""
    return spec_of(settings_in(file), model)
