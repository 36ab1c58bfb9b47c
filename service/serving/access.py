"""The gate: who asks, and whether they may."""

from typing import Protocol

from starlette.requests import Request

from service.domain.access import ANYONE, AccessRole, Principal


class Gate(Protocol):
    """Lets requests in."""

    async def admit(self, request: Request, needed: AccessRole, model: str | None) -> Principal:
        """Who asks; UnauthorizedError, ForbiddenError or TooManyError."""
        ...


class OpenGate:
    """Lets everybody do everything: for a server that nobody else can reach."""

    async def admit(self, request: Request, needed: AccessRole, model: str | None) -> Principal:
        """Anyone."""
        del request, needed, model
        return ANYONE
