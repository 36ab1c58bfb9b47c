"""Tokens over SQLite and PostgreSQL."""

import json
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import insert, select, update

from service.domain.access.access import AccessRole, Principal, TokenGrant
from service.errors import ConfigurationError, NotFoundError, RefusedError
from service.storage.access.tokens import SqlTokens
from service.storage.database import Database
from service.storage.registry import Registry
from service.storage.schema.access import tokens

OPERATOR = TokenGrant("ci", AccessRole.OPERATOR, frozenset({"phishing"}))


def test_a_token_is_known_by_its_text(registry: Registry) -> None:
    """A created token is found by its text, with its role and its models."""
    made, text = registry.tokens.create(OPERATOR, actor="ann")
    assert text.startswith(f"hrt_{made.key}_")
    assert len(text) == 64
    found = registry.tokens.verify(text)
    assert found is not None
    assert found.principal == Principal("ci", AccessRole.OPERATOR, frozenset({"phishing"}), made.id)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-1] + ("A" if text[-1] != "A" else "B"),
        lambda text: text.replace("hrt_", "hrx_"),
        lambda text: "hrt_" + "0" * 16 + text[20:],
        lambda text: text + "A",
        lambda text: text[:-1],
        lambda text: "",
        lambda text: "hrt_\u0661" + text[5:],
    ],
)
def test_other_texts_are_no_tokens(registry: Registry, spoil: Callable[[str], str]) -> None:
    """A text that differs in anything is refused."""
    _, text = registry.tokens.create(OPERATOR, actor="ann")
    assert registry.tokens.verify(spoil(text)) is None


def test_a_revoked_token_is_none(registry: Registry) -> None:
    """A revoked token is invalid, its name is free again, and it is in the list of all tokens."""
    _, text = registry.tokens.create(OPERATOR, actor="ann")
    registry.tokens.revoke("ci", actor="bob", reason="lost")
    assert registry.tokens.verify(text) is None
    registry.tokens.create(OPERATOR, actor="ann")
    assert [len(registry.tokens.list()), len(registry.tokens.list(revoked=True))] == [1, 2]


def test_an_expired_token_is_none(registry: Registry) -> None:
    """A token is valid until its time, and not at it."""
    made, text = registry.tokens.create(TokenGrant("ci", AccessRole.VIEWER, lifetime_s=3600), actor="ann")
    assert registry.tokens.verify(text) is not None
    brief, text = registry.tokens.create(TokenGrant("brief", AccessRole.VIEWER, lifetime_s=0.001), actor="ann")
    time.sleep(0.002)
    assert registry.tokens.verify(text) is None
    assert made.expires_at is not None
    assert brief.expires_at is not None
    assert made.expires_at - brief.expires_at > timedelta(minutes=59)


def test_a_name_is_in_force_once(registry: Registry) -> None:
    """A second token of the same name is refused, and the message says how to revoke the first."""
    registry.tokens.create(OPERATOR, actor="ann")
    with pytest.raises(RefusedError, match="headrace token revoke ci"):
        registry.tokens.create(OPERATOR, actor="ann")


@pytest.mark.parametrize("which", ["other", "99", "0", "9" * 30, "ci'; DROP TABLE tokens"])
def test_what_is_not_there_cannot_be_revoked(registry: Registry, which: str) -> None:
    """Revoking an unknown token names the existing ones."""
    registry.tokens.create(OPERATOR, actor="ann")
    with pytest.raises(NotFoundError, match="ci"):
        registry.tokens.revoke(which, actor="bob", reason="")


@pytest.mark.parametrize("name", ["", "9lives", "a b", "trainer", "anonymous", "a" * 64, "cli:ann", "ä"])
def test_names_that_mislead_are_refused(name: str) -> None:
    """A token cannot have a name that the audit uses for others, or one that is unreadable there."""
    with pytest.raises(ConfigurationError, match="expected one like"):
        TokenGrant(name, AccessRole.VIEWER)


def test_who_makes_and_who_revokes_is_in_the_audit(registry: Registry) -> None:
    """The audit says who created or revoked which token, what it allowed and why, without its text."""
    _, text = registry.tokens.create(OPERATOR, actor="ann")
    registry.tokens.revoke("ci", actor="bob", reason="lost")
    made, gone = registry.history.audit("")
    assert [made.actor, made.action, made.evidence["role"]] == ["ann", "token_create", "operator"]
    assert [gone.actor, gone.action, gone.reason, gone.evidence["name"]] == ["bob", "token_revoke", "lost", "ci"]
    assert text[21:] not in json.dumps([dict(made.evidence), dict(gone.evidence)])


def test_use_is_noted_coarsely(registry: Registry) -> None:
    """The first use is recorded, and the next within minutes writes nothing."""
    _, text = registry.tokens.create(OPERATOR, actor="ann")
    registry.tokens.verify(text)
    (first,) = registry.tokens.list()
    registry.tokens.verify(text)
    assert registry.tokens.list() == [first]
    assert first.used_at is not None


def columns(database: Database) -> list[dict[str, object]]:
    """Return all that the database has of tokens."""
    with database.read_transaction() as connection:
        return [dict(row._mapping) for row in connection.execute(select(tokens))]


def test_a_stolen_database_reveals_no_token(registry: Registry) -> None:
    """Nothing in the rows is a token, or can be used as one."""
    _, text = registry.tokens.create(OPERATOR, actor="ann")
    (row,) = columns(registry.database)
    assert text[21:] not in repr(row)
    for stored in (row["mac"], f"hrt_{row['key']}_{row['mac']}", f"hrt_{row['key']}_{str(row['mac'])[:43]}"):
        assert registry.tokens.verify(str(stored)) is None


def test_a_written_database_widens_no_token(registry: Registry) -> None:
    """Whoever can write rows, but has not the key, can neither widen a token nor make one."""
    _, text = registry.tokens.create(OPERATOR, actor="ann")
    thief = SqlTokens(registry.database, b"another key")
    _, made = thief.create(TokenGrant("thief", AccessRole.ADMIN), actor="thief")
    assert registry.tokens.verify(made) is None
    for change in ({"role": "admin"}, {"models": None}, {"name": "ann"}):
        with registry.database.write_transaction() as connection:
            connection.execute(update(tokens).where(tokens.c.name == "ci").values(change))
        assert registry.tokens.verify(text) is None
        with registry.database.write_transaction() as connection:
            row = {"role": "operator", "models": ["phishing"], "name": "ci"}
            connection.execute(update(tokens).where(tokens.c.name.in_(["ci", "ann"])).values(row))
        assert registry.tokens.verify(text) is not None


def test_a_row_of_nothing_lets_nobody_in(registry: Registry) -> None:
    """The comparison value of unknown tokens is not itself the MAC of a token."""
    with registry.database.write_transaction() as connection:
        now = registry.database.now(connection)
        said = {"name": "x", "role": "admin", "created_by": "x", "created_at": now}
        connection.execute(insert(tokens).values(key="0" * 16, mac="0" * 64, **said))
    assert registry.tokens.verify("hrt_" + "0" * 16 + "_" + "A" * 43) is None
