"""Lineages, versions, audit, artifacts: what has been, to be read."""

import hashlib
from collections.abc import Mapping, Sequence

from sqlalchemy import select

from service.domain.registry import AuditEntry, Lineage, Version, VersionNumber
from service.errors import NotFoundError, TamperedError
from service.ports import ArtifactStore
from service.storage import rows
from service.storage.database import Database
from service.storage.tables import aliases, artifacts, audit, lineages, versions


class SqlHistory:
    """Implements `ports.History`."""

    def __init__(self, database: Database, store: ArtifactStore) -> None:
        self._database = database
        self._store = store

    def lineages(self, name: str) -> Sequence[Lineage]:
        """Oldest first."""
        statement = select(lineages).where(lineages.c.model == name).order_by(lineages.c.id)
        with self._database.reading() as connection:
            return [rows.lineage(found) for found in connection.execute(statement)]

    def versions(self, name: str) -> Sequence[Version]:
        """Oldest first."""
        statement = select(versions).where(versions.c.model == name).order_by(versions.c.number)
        with self._database.reading() as connection:
            return [rows.version(found) for found in connection.execute(statement)]

    def aliases(self, name: str) -> Mapping[str, VersionNumber]:
        """The versions that have a name."""
        statement = select(aliases.c.alias, aliases.c.version).where(aliases.c.model == name).order_by(aliases.c.alias)
        with self._database.reading() as connection:
            return {found.alias: VersionNumber(found.version) for found in connection.execute(statement)}

    def audit(self, name: str) -> Sequence[AuditEntry]:
        """Oldest first."""
        statement = select(audit).where(audit.c.model == name).order_by(audit.c.id)
        with self._database.reading() as connection:
            return [rows.audit(found) for found in connection.execute(statement)]

    def artifact(self, digest: str) -> bytes:
        """The sealed bytes; TamperedError where they are not those of the digest."""
        with self._database.reading() as connection:
            statement = select(artifacts.c.content).where(artifacts.c.digest == digest)
            found = connection.execute(statement).one_or_none()
        if found is None:
            msg = f"found no artifact {digest[:12]} in the registry; run `headrace registry verify`"
            raise NotFoundError(msg)
        data = bytes(found.content) if found.content is not None else self._store.get(digest)
        if hashlib.sha256(data).hexdigest() != digest:
            msg = f"found artifact {digest[:12]} altered: its bytes have another digest; run `headrace registry verify`"
            raise TamperedError(msg)
        return data
