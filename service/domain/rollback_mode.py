"""How a rollback goes back."""

from enum import StrEnum


class RollbackMode(StrEnum):
    """Restore a kept state, or learn again from it without what is excluded."""

    RESTORE = "restore"
    REPLAY = "replay"
