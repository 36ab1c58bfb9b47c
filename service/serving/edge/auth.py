"""The gate: who asks, and whether they may."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from starlette.requests import Request

from service.domain.access.access import ANYONE, AccessRole, Principal, Token
from service.domain.access.rate_limit import RateLimit
from service.errors import UnavailableError
from service.ports.serving import Tokens
from service.serving.edge.errors import ForbiddenError, TooManyError, UnauthorizedError
from service.serving.edge.scope import headers_of

KNOWN_S = 3.0
"""So long a token that was good is taken to be: a revocation takes effect within that."""
OUTAGE_S = 300.0
"""So long while the registry cannot be asked."""
MOST_KNOWN = 4096
MOST_ASKING = 8
"""Look-ups at a time, in threads of their own: bad tokens in masses must not keep the registry from others."""
OWN_SITE = frozenset({b"same-origin", b"none"})
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_log = structlog.get_logger(__name__)


class Gate(Protocol):
    """Lets requests in."""

    async def admit(self, request: Request, needed: AccessRole, model: str | None) -> Principal:
        """Who asks; UnauthorizedError, ForbiddenError or TooManyError."""
        ...


class OpenGate:
    """Lets everybody do everything, for a server that nobody else can reach; but no page of another site.

    Browsers say of a request which site's page has made it; one that has its name lead here says another host.
    """

    async def admit(self, request: Request, needed: AccessRole, model: str | None) -> Principal:
        """Anyone."""
        del needed, model
        site = headers_of(request.scope).get(b"sec-fetch-site")
        if site is not None and (site not in OWN_SITE or request.url.hostname not in LOOPBACK):
            msg = (
                "found a request that another site's page has made, expected one of this server's own, or no browser's"
            )
            raise ForbiddenError(msg)
        return ANYONE


@dataclass(slots=True)
class _Known:
    """A token that was good at `confirmed`, and is taken to be without asking until `until`."""

    token: Token
    until: float
    confirmed: float


@dataclass(slots=True)
class TokenGate:
    """Lets in who has a token, as far as that goes and not too often."""

    tokens: Tokens
    rate: float | None = None
    clock: Callable[[], float] = time.monotonic
    _known: "OrderedDict[bytes, _Known]" = field(default_factory=OrderedDict)
    _limit: RateLimit | None = None
    _asking: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(MOST_ASKING, "tokens"))

    def __post_init__(self) -> None:
        """The limit, where there is one."""
        self._limit = None if self.rate is None else RateLimit(self.rate)

    async def admit(self, request: Request, needed: AccessRole, model: str | None) -> Principal:
        """Who asks; what is refused is refused before anything is read of the request but its head."""
        who = (await self._token(_bearer(request))).principal
        self._require_patience(who)
        if not who.may(needed, model):
            raise _forbidden(who, needed, model)
        return who

    async def _token(self, text: str) -> Token:
        """Known for a moment; while one request asks anew, others go on with what is known."""
        digest, now = hashlib.sha256(text.encode()).digest(), self.clock()
        known = self._known.get(digest)
        if known is not None and now < known.until:
            return known.token
        trusted = known is not None and now < known.confirmed + OUTAGE_S
        if known is not None and trusted:
            known.until = now + KNOWN_S
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._asking, self.tokens.verify, text)
        except UnavailableError:
            if known is None or not trusted:
                raise
            return known.token
        if found is None:
            self._known.pop(digest, None)
            raise UnauthorizedError
        return self._remembered(digest, found)

    def _remembered(self, digest: bytes, found: Token) -> Token:
        now = self.clock()
        self._known[digest] = _Known(found, now + KNOWN_S, now)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return found

    def _require_patience(self, who: Principal) -> None:
        wait_s = 0.0 if self._limit is None else self._limit.take(who.token, now_s=self.clock())
        if wait_s > 0.0:
            msg = f"found more than {self.rate:g} requests a second of {who.name}, expected at most that"
            raise TooManyError(msg, retry_after_s=wait_s)


def _bearer(request: Request) -> str:
    """What stands behind `Bearer`."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text.isascii():
        raise UnauthorizedError
    return text.strip()


def _forbidden(who: Principal, needed: AccessRole, model: str | None) -> ForbiddenError:
    _log.info("access_refused", token=who.token, name=who.name, needed=needed.value, model=model)
    if not who.role.covers(needed):
        msg = f"found role {who.role} of token {who.name}, expected {needed}; see `headrace token create`"
        return ForbiddenError(msg)
    msg = f"found model {model!r} not among those of token {who.name}; see `headrace token list`"
    return ForbiddenError(msg)
