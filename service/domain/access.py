"""Who asks, and what they may do."""

from dataclasses import dataclass
from enum import StrEnum


class AccessRole(StrEnum):
    """What a token allows; each role may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, needed: "AccessRole") -> bool:
        """Whether this role may do what needs that one."""
        order = list(AccessRole)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks; `models` are those it may see, None for all; `token` is the number of its token, if it has one."""

    name: str
    role: AccessRole
    models: frozenset[str] | None = None
    token: int | None = None

    def may(self, needed: AccessRole, model: str | None) -> bool:
        """Whether it may do what needs that role, to that model or to none in particular."""
        return self.role.covers(needed) and (model is None or self.sees(model))

    def sees(self, model: str) -> bool:
        """Whether the model is among its own."""
        return self.models is None or model in self.models


ANYONE = Principal("anonymous", AccessRole.ADMIN)
"""Everybody who reaches a server that listens on a loopback address and asks for no token."""
