"""API tokens; the registry stores a MAC of each, never its secret."""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.domain.access.access import TOKEN_PREFIX, AccessRole, Token, TokenGrant
from service.domain.registry.registry import AuditEntry, ModelName
from service.errors import NotFoundError, RefusedError, UnavailableError
from service.storage.database import Database
from service.storage.schema.access import tokens
from service.storage.transactions import writes

NO_MODEL = ModelName("")
"""The model name in audit entries of actions that concern no single model."""
SECRET_BYTES = 32
USE_NOTED_EVERY = timedelta(minutes=5)
_TOKEN_TEXT = re.compile(rf"{TOKEN_PREFIX}([0-9a-f]{{16}})_([\w-]{{43}})", re.ASCII)
_NO_MAC = "0" * 64


class SqlTokens:
    """Implements `ports.serving.Tokens`.

    The MAC covers the secret and all that the token allows, so that whoever can write to the database, but has not the
    key, can neither make a token nor extend the rights of one.
    """

    def __init__(self, database: Database, key: bytes) -> None:
        self._database = database
        # A fast MAC is enough: 256 random bits cannot be guessed, and a slow hash before each prediction would let
        # clients overload the server.
        self._key = hmac.digest(key, b"headrace tokens", "sha256")

    def create(self, grant: TokenGrant, *, actor: str) -> tuple[Token, str]:
        """Create a token; return it with its secret text, which is shown only this once.

        Raise RefusedError when a token of that name is in force.
        """
        key, secret = secrets.token_hex(8), secrets.token_urlsafe(SECRET_BYTES)
        try:
            with self._database.write_transaction() as connection:
                now = self._database.now(connection).replace(microsecond=0)
                number = self._insert(connection, _token_columns(grant, key=key, actor=actor, now=now), secret)
                found = _token_from_row(connection.execute(select(tokens).where(tokens.c.id == number)).one())
                _audit(connection, "token_create", found, actor=actor, now=now)
        except IntegrityError as error:
            msg = (
                f"found a token named {grant.name} already, expected another name; `headrace token revoke {grant.name}`"
            )
            raise RefusedError(msg) from error
        return found, f"{TOKEN_PREFIX}{key}_{secret}"

    def verify(self, text: str) -> Token | None:
        """Return the token if the text is valid, unexpired and not revoked, else None.

        An unknown token costs a look-up, a MAC and a constant-time comparison too, so that timing reveals no more than
        whether its public number exists.
        """
        parts = _TOKEN_TEXT.fullmatch(text)
        if parts is None:
            return None
        with self._database.read_transaction() as connection:
            row = connection.execute(select(tokens).where(tokens.c.key == parts[1])).one_or_none()
            now = self._database.now(connection)
        values = (
            row._asdict()
            if row is not None
            else _token_columns(TokenGrant("nobody", AccessRole.VIEWER), parts[1], "", now)
        )
        good = hmac.compare_digest(self._mac(values, parts[2]), row.mac if row is not None else _NO_MAC)
        if not good or row is None or row.revoked_at is not None or (row.expires_at and row.expires_at <= now):
            return None
        self._record_use(row, now)
        return _token_from_row(row)

    def list(self, *, revoked: bool = False) -> Sequence[Token]:
        """Return the tokens, oldest first; revoked ones only if asked."""
        statement = select(tokens).order_by(tokens.c.id)
        if not revoked:
            statement = statement.where(tokens.c.revoked_at.is_(None))
        with self._database.read_transaction() as connection:
            return [_token_from_row(row) for row in connection.execute(statement)]

    def revoke(self, which: str, *, actor: str, reason: str) -> Token:
        """Revoke a token by name or number, or raise NotFoundError; servers refuse it within seconds."""
        named = tokens.c.id == int(which) if which.isdecimal() and len(which) < 19 else tokens.c.name == which
        with self._database.write_transaction() as connection:
            now = self._database.now(connection)
            row = connection.execute(select(tokens).where(named, tokens.c.revoked_at.is_(None))).one_or_none()
            if row is not None:
                connection.execute(update(tokens).where(tokens.c.id == row.id).values(revoked_at=now))
                found = _token_from_row(connection.execute(select(tokens).where(tokens.c.id == row.id)).one())
                _audit(connection, "token_revoke", found, actor=actor, now=now, reason=reason)
                return found
        known = ", ".join(f"{one.name} ({one.id})" for one in self.list()) or "none"
        msg = f"found no token {which!r} in force, expected one of: {known}; see `headrace token list`"
        raise NotFoundError(msg)

    def _insert(self, connection: Connection, values: Mapping[str, Any], secret: str) -> int:
        return writes.new_id(connection.execute(insert(tokens).values(**values, mac=self._mac(values, secret))))

    def _record_use(self, row: Row[Any], now: datetime) -> None:
        """Record the time of use at most every few minutes; a database that cannot be written keeps nobody out."""
        if row.used_at is None or now - row.used_at >= USE_NOTED_EVERY:
            with suppress(UnavailableError), self._database.write_transaction() as connection:
                connection.execute(update(tokens).where(tokens.c.id == row.id).values(used_at=now))

    def _mac(self, values: Mapping[str, Any], secret: str) -> str:
        expires = values["expires_at"]
        covered = [values["key"], values["name"], values["role"], values["models"], expires and expires.timestamp()]
        return hmac.new(self._key, json.dumps([*covered, secret]).encode(), hashlib.sha256).hexdigest()


def _token_columns(grant: TokenGrant, key: str, actor: str, now: datetime) -> dict[str, Any]:
    lifetime = None if grant.lifetime_s is None else timedelta(seconds=grant.lifetime_s)
    return {
        "key": key,
        "name": grant.name,
        "role": grant.role.value,
        "models": None if grant.models is None else sorted(grant.models),
        "created_at": now,
        "created_by": actor,
        "expires_at": None if lifetime is None else (now + lifetime).replace(microsecond=0),
    }


def _token_from_row(row: Row[Any]) -> Token:
    return Token(
        id=row.id,
        key=row.key,
        name=row.name,
        role=AccessRole(row.role),
        models=None if row.models is None else frozenset(row.models),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        used_at=row.used_at,
        revoked_at=row.revoked_at,
    )


def _audit(connection: Connection, action: str, found: Token, *, actor: str, now: datetime, reason: str = "") -> None:
    scope = None if found.models is None else sorted(found.models)
    evidence = {"token": found.id, "name": found.name, "role": found.role.value, "models": scope}
    writes.insert_audit_entry(connection, AuditEntry(NO_MODEL, actor, action, reason, evidence=evidence), now=now)
