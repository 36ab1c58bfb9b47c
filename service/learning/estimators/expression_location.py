"""Where in the configuration an estimator expression stands, and the seed that its place gives it."""

import hashlib
from dataclasses import dataclass, replace

from service.domain.stream.events import Task


@dataclass(frozen=True, slots=True)
class ExpressionLocation:
    """A place in an expression: `path` in the file for messages, `key` within the model for its seed."""

    path: str
    key: str
    seed: int
    task: Task | None

    def child(self, step: str) -> "ExpressionLocation":
        """Return the place one step further in."""
        return replace(self, path=f"{self.path}{step}", key=f"{self.key}{step}")

    def own_seed(self) -> int:
        """Return a seed for this place alone, always the same."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}:{self.key}".encode()).digest()[:4], "big") % 2**31
