"""Identify the caller of a request and check whether it may make it."""

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

from service.domain.access.access import ANONYMOUS, AccessRole, Principal, Token
from service.domain.access.rate_limit import RateLimiter
from service.errors import UnavailableError
from service.ports.serving import Tokens
from service.serving.edge.errors import ForbiddenError, TooManyRequestsError, UnauthorizedError
from service.serving.edge.scope import headers_of

TOKEN_CACHE_S = 3.0
"""How long a verified token is trusted without asking the registry; a revocation takes effect within this."""
OUTAGE_CACHE_S = 300.0
"""How long a verified token is trusted while the registry is unavailable."""
MAX_CACHED_TOKENS = 4096
MAX_LOOKUPS = 8
"""How many look-ups run at a time.

They have threads of their own, so that a flood of bad tokens does not keep the registry from others.
"""
OWN_SITE = frozenset({b"same-origin", b"none"})
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_log = structlog.get_logger(__name__)


class Authorizer(Protocol):
    """Decides whether a request is let in."""

    async def authorize(self, request: Request, needed: AccessRole, model: str | None) -> Principal:
        """Return the caller; raise UnauthorizedError, ForbiddenError or TooManyRequestsError."""
        ...


class OpenAuthorizer:
    """Lets every caller do everything, for a server on loopback, except for pages of other sites.

    A browser names the site of the page that made a request in `Sec-Fetch-Site`. A page whose own domain name resolves
    to this host (DNS rebinding) is recognised by the `Host` header.
    """

    async def authorize(self, request: Request, needed: AccessRole, model: str | None) -> Principal:
        """Return the anonymous caller; raise ForbiddenError for a request of another site's page."""
        del needed, model
        site = headers_of(request.scope).get(b"sec-fetch-site")
        if site is not None and (site not in OWN_SITE or request.url.hostname not in LOOPBACK):
            msg = (
                "found a request that another site's page has made, expected one of this server's own, or no browser's"
            )
            raise ForbiddenError(msg)
        return ANONYMOUS


@dataclass(slots=True)
class _CachedToken:
    """A token that the registry confirmed at `confirmed_at`, and that is trusted until `fresh_until`."""

    token: Token
    fresh_until: float
    confirmed_at: float


@dataclass(slots=True)
class TokenAuthorizer:
    """Lets callers in by token, within its role, its models and a request rate."""

    tokens: Tokens
    rate: float | None = None
    clock: Callable[[], float] = time.monotonic
    _cache: "OrderedDict[bytes, _CachedToken]" = field(default_factory=OrderedDict)
    _rate_limiter: RateLimiter | None = None
    _lookups: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(MAX_LOOKUPS, "tokens"))

    def __post_init__(self) -> None:
        """Make the rate limiter if there is a rate."""
        self._rate_limiter = None if self.rate is None else RateLimiter(self.rate)

    async def authorize(self, request: Request, needed: AccessRole, model: str | None) -> Principal:
        """Return the caller; only the request's head has been read by then."""
        caller = (await self._verify_token(_bearer_token(request))).principal
        self._require_rate(caller)
        if not caller.may(needed, model):
            raise _forbidden_error(caller, needed, model)
        return caller

    async def _verify_token(self, text: str) -> Token:
        """Return the token, from the cache or the registry; raise UnauthorizedError if it is bad.

        While one request asks the registry about a known token, others go on with what is cached.
        """
        digest, now = hashlib.sha256(text.encode()).digest(), self.clock()
        cached = self._cache.get(digest)
        if cached is not None and now < cached.fresh_until:
            return cached.token
        trusted = cached is not None and now < cached.confirmed_at + OUTAGE_CACHE_S
        if cached is not None and trusted:
            cached.fresh_until = now + TOKEN_CACHE_S
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._lookups, self.tokens.verify, text)
        except UnavailableError:
            if cached is None or not trusted:
                raise
            return cached.token
        if found is None:
            self._cache.pop(digest, None)
            raise UnauthorizedError
        return self._remember(digest, found)

    def _remember(self, digest: bytes, found: Token) -> Token:
        now = self.clock()
        self._cache[digest] = _CachedToken(found, now + TOKEN_CACHE_S, now)
        if len(self._cache) > MAX_CACHED_TOKENS:
            self._cache.popitem(last=False)
        return found

    def _require_rate(self, caller: Principal) -> None:
        wait_s = 0.0 if self._rate_limiter is None else self._rate_limiter.acquire(caller.token, now_s=self.clock())
        if wait_s > 0.0:
            msg = f"found more than {self.rate:g} requests a second of {caller.name}, expected at most that"
            raise TooManyRequestsError(msg, retry_after_s=wait_s)


def _bearer_token(request: Request) -> str:
    """Return the token of the `Authorization: Bearer` header; raise UnauthorizedError without one."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text.isascii():
        raise UnauthorizedError
    return text.strip()


def _forbidden_error(caller: Principal, needed: AccessRole, model: str | None) -> ForbiddenError:
    _log.info("access_refused", token=caller.token, name=caller.name, needed=needed.value, model=model)
    if not caller.role.covers(needed):
        msg = f"found role {caller.role} of token {caller.name}, expected {needed}; see `headrace token create`"
        return ForbiddenError(msg)
    msg = f"found model {model!r} not among those of token {caller.name}; see `headrace token list`"
    return ForbiddenError(msg)
