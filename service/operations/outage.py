"""Since when a service has been away, and what it says."""

import time
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Outage:
    """One outage; its text ends a sentence of `/readyz`."""

    since: float
    error: str

    @classmethod
    def noted(cls, before: Self | None, error: Exception) -> Self:
        """An outage that begins now, or goes on with the newest error."""
        return cls(before.since if before else time.monotonic(), str(error))

    def __str__(self) -> str:
        """How long, and why."""
        return f"for {time.monotonic() - self.since:.0f} s: {self.error}"
