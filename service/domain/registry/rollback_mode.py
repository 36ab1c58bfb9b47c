"""How a rollback goes back; by itself, since the command line's options name it before anything else is loaded."""

from enum import StrEnum


class RollbackMode(StrEnum):
    """Restore a kept state, or learn again from it without what is excluded."""

    RESTORE = "restore"
    REPLAY = "replay"
