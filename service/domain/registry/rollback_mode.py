"""The modes of a rollback, in a module of its own so that the CLI can name them without loading anything else."""

from enum import StrEnum


class RollbackMode(StrEnum):
    """Restore a kept state, or learn again from one without the excluded part."""

    RESTORE = "restore"
    REPLAY = "replay"
