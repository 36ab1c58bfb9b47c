"""Authorizers let callers in by their tokens, roles, models and rates."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.requests import Request
from structlog.testing import capture_logs

from service.domain.access.access import ANONYMOUS, AccessRole, Token, TokenGrant
from service.errors import UnavailableError
from service.serving.edge import auth
from service.serving.edge.auth import OpenAuthorizer, TokenAuthorizer
from service.serving.edge.errors import ForbiddenError, TooManyRequestsError, UnauthorizedError
from service.storage.access.tokens import SqlTokens
from service.storage.database import Database
from service.storage.schema import upgrade

VIEWER, OPERATOR, ADMIN = AccessRole


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty registry in a file."""
    path = tmp_path_factory.mktemp("registry") / "registry.db"
    upgrade.upgrade_schema(f"sqlite:///{path}")
    return path


class CountedTokens(SqlTokens):
    """The real tokens, with a count of look-ups, and an outage that can be switched on."""

    asked = 0
    away = False

    def verify(self, text: str) -> Token | None:
        """Count the look-up, and verify the token unless there is an outage."""
        self.asked += 1
        if self.away:
            msg = "found the registry away"
            raise UnavailableError(msg)
        return super().verify(text)


@pytest.fixture
def tokens(template: Path, tmp_path: Path) -> Iterator[CountedTokens]:
    """Yield tokens in a registry of their own."""
    shutil.copy(template, tmp_path / "registry.db")
    database = Database(f"sqlite:///{tmp_path}/registry.db")
    yield CountedTokens(database, b"k" * 32)
    database.close()


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time to which it is set."""
        return self.now


def request(authorization: str | None) -> Request:
    """Return a request with this `Authorization` header."""
    headers = [] if authorization is None else [(b"authorization", authorization.encode("latin-1"))]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": headers})


def admit(gate: TokenAuthorizer, text: str, needed: AccessRole = VIEWER, model: str | None = None) -> str:
    """Return the name of the caller that is let in."""
    return asyncio.run(gate.authorize(request(f"Bearer {text}"), needed, model)).name


def test_the_open_gate_asks_nothing() -> None:
    """Without tokens every caller is anonymous."""
    assert asyncio.run(OpenAuthorizer().authorize(request(None), ADMIN, "any")) == ANONYMOUS


@pytest.mark.parametrize(
    ("site", "host", "good"),
    [
        (None, "127.0.0.1:8420", True),
        (None, "proxy.example", True),
        ("same-origin", "localhost:8420", True),
        ("none", "[::1]:8420", True),
        ("cross-site", "localhost:8420", False),
        ("same-site", "localhost:8420", False),
        ("same-origin", "evil.example", False),
    ],
)
def test_the_open_gate_lets_no_other_sites_page_in(site: str | None, host: str, good: bool) -> None:
    """A page of another site cannot have a browser on this host change models."""
    headers = [(b"host", host.encode()), *([(b"sec-fetch-site", site.encode())] if site else [])]
    asked = Request({"type": "http", "method": "POST", "path": "/", "scheme": "http", "headers": headers})
    if good:
        assert asyncio.run(OpenAuthorizer().authorize(asked, ADMIN, "any")) == ANONYMOUS
        return
    with pytest.raises(ForbiddenError):
        asyncio.run(OpenAuthorizer().authorize(asked, ADMIN, "any"))


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearer hrt_0",
        "Bearer hrt_" + "0" * 16 + "_" + "A" * 43,
        "Bearer é",
    ],
)
def test_a_bad_token_is_unauthorized(tokens: CountedTokens, authorization: str | None) -> None:
    """Every bad token gets the same message, which repeats nothing of what was sent."""
    with pytest.raises(UnauthorizedError) as caught, capture_logs() as logs:
        asyncio.run(TokenAuthorizer(tokens).authorize(request(authorization), VIEWER, None))
    assert str(caught.value) == str(UnauthorizedError())
    assert caught.value.headers["WWW-Authenticate"].startswith("Bearer")
    assert logs == []


@pytest.mark.parametrize(
    ("role", "models", "needed", "model", "good"),
    [
        (VIEWER, None, VIEWER, "a", True),
        (VIEWER, None, OPERATOR, "a", False),
        (OPERATOR, {"a"}, OPERATOR, "a", True),
        (OPERATOR, {"a"}, OPERATOR, "b", False),
        (OPERATOR, {"a"}, VIEWER, None, True),
        (ADMIN, None, ADMIN, None, True),
    ],
)
def test_a_token_goes_as_far_as_it_goes(
    tokens: CountedTokens, role: AccessRole, models: set[str] | None, needed: AccessRole, model: str | None, good: bool
) -> None:
    """A token's role and models decide what it may do."""
    _, text = tokens.create(TokenGrant("ci", role, None if models is None else frozenset(models)), actor="ann")
    gate = TokenAuthorizer(tokens)
    if good:
        assert admit(gate, text, needed, model) == "ci"
        return
    with pytest.raises(ForbiddenError), capture_logs() as logs:
        admit(gate, text, needed, model)
    assert text[21:] not in repr(logs)


def test_a_known_token_is_not_looked_up_each_time(tokens: CountedTokens) -> None:
    """A token is looked up once in a few seconds, after which a revocation takes effect."""
    _, text = tokens.create(TokenGrant("ci", VIEWER), actor="ann")
    clock = Clock()
    gate = TokenAuthorizer(tokens, clock=clock)
    for _ in range(5):
        admit(gate, text)
    assert tokens.asked == 1
    tokens.revoke("ci", actor="ann", reason="")
    admit(gate, text)
    clock.now = auth.TOKEN_CACHE_S
    with pytest.raises(UnauthorizedError):
        admit(gate, text)


def test_an_outage_of_the_registry_keeps_nobody_out_for_a_while(tokens: CountedTokens) -> None:
    """In an outage known tokens work for minutes, and unknown ones are told of the outage."""
    _, text = tokens.create(TokenGrant("ci", VIEWER), actor="ann")
    clock = Clock()
    gate = TokenAuthorizer(tokens, clock=clock)
    admit(gate, text)
    tokens.away = True
    clock.now = auth.OUTAGE_CACHE_S - 1
    assert admit(gate, text) == "ci"
    asked = tokens.asked
    assert [admit(gate, text), tokens.asked - asked] == ["ci", 0]
    with pytest.raises(UnavailableError):
        admit(gate, "hrt_" + "0" * 16 + "_" + "A" * 43)
    clock.now = auth.TOKEN_CACHE_S + auth.OUTAGE_CACHE_S
    with pytest.raises(UnavailableError):
        admit(gate, text)


def test_too_many_requests_of_a_token_wait(tokens: CountedTokens) -> None:
    """Past its rate a token is told when to come back, and other tokens are not affected."""
    _, text = tokens.create(TokenGrant("ci", VIEWER), actor="ann")
    _, other = tokens.create(TokenGrant("cd", VIEWER), actor="ann")
    clock = Clock()
    gate = TokenAuthorizer(tokens, rate=2.0, clock=clock)
    assert [admit(gate, text), admit(gate, text)] == ["ci", "ci"]
    with pytest.raises(TooManyRequestsError) as caught:
        admit(gate, text)
    assert caught.value.headers["Retry-After"] == "1"
    assert admit(gate, other) == "cd"
    clock.now = 0.5
    assert admit(gate, text) == "ci"


def test_what_is_known_is_bounded(tokens: CountedTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """No number of tokens grows the cache past its bound."""
    monkeypatch.setattr(auth, "MAX_CACHED_TOKENS", 2)
    texts = [tokens.create(TokenGrant(f"t{i}", VIEWER), actor="ann")[1] for i in range(4)]
    gate = TokenAuthorizer(tokens)
    for text in texts:
        admit(gate, text)
    assert len(gate._cache) == 2
