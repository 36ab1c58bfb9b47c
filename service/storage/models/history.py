"""Reads a model's lineages, versions, aliases, audit and artifacts."""

import hashlib
from collections.abc import Mapping, Sequence

from sqlalchemy import select

from service.domain.registry.registry import AuditEntry, Lineage, Version, VersionNumber
from service.errors import NotFoundError, TamperedError
from service.ports.artifacts import ArtifactStore
from service.storage.database import Database
from service.storage.schema.registry import aliases, artifacts, audit, lineages, versions
from service.storage.transactions import rows

MAX_NUMBER = 2**31 - 1
"""The largest number of a version that the column holds; PostgreSQL refuses to compare a larger one."""


class SqlModelHistory:
    """Implements `ports.registry.ModelHistory`."""

    def __init__(self, database: Database, store: ArtifactStore) -> None:
        self._database = database
        self._store = store

    def lineages(self, name: str) -> Sequence[Lineage]:
        """Return the model's lineages, oldest first."""
        statement = select(lineages).where(lineages.c.model == name).order_by(lineages.c.id)
        with self._database.read_transaction() as connection:
            return [rows.lineage_from_row(found) for found in connection.execute(statement)]

    def lineage(self, name: str, number: int) -> Lineage:
        """Return one lineage of the model, or raise NotFoundError."""
        statement = select(lineages).where(lineages.c.model == name, lineages.c.id == number)
        with self._database.read_transaction() as connection:
            found = connection.execute(statement).one_or_none()
        if found is None:
            msg = f"found no lineage {number} of {name}; see `headrace model history {name}`"
            raise NotFoundError(msg)
        return rows.lineage_from_row(found)

    def versions(self, name: str) -> Sequence[Version]:
        """Return the model's versions, oldest first."""
        statement = select(versions).where(versions.c.model == name).order_by(versions.c.number)
        with self._database.read_transaction() as connection:
            return [rows.version_from_row(found) for found in connection.execute(statement)]

    def version(self, name: str, number: int) -> Version:
        """Return one version; raise NotFoundError, which names the existing ones."""
        if not 0 < number <= MAX_NUMBER:
            raise self._no_version(name, f"version {number}")
        statement = select(versions).where(versions.c.model == name, versions.c.number == number)
        with self._database.read_transaction() as connection:
            found = connection.execute(statement).one_or_none()
        if found is None:
            raise self._no_version(name, f"version {number}")
        return rows.version_from_row(found)

    def newest_version(self, name: str, lineage: int) -> Version:
        """Return the latest version made of a lineage; raise NotFoundError when there is none."""
        of_lineage = select(versions).where(versions.c.model == name, versions.c.lineage == lineage)
        with self._database.read_transaction() as connection:
            found = connection.execute(of_lineage.order_by(versions.c.number.desc()).limit(1)).one_or_none()
        if found is None:
            raise self._no_version(name, f"version of lineage {lineage}")
        return rows.version_from_row(found)

    def _no_version(self, name: str, wanted: str) -> NotFoundError:
        known = ", ".join(str(one.number) for one in self.versions(name))
        help_ = f"expected one of {known}; see `headrace model history {name}`"
        msg = f"found no {wanted} of {name}, {help_ if known else 'which has none; see `headrace model list`'}"
        return NotFoundError(msg)

    def aliases(self, name: str) -> Mapping[str, VersionNumber]:
        """Return the version numbers by alias."""
        statement = select(aliases.c.alias, aliases.c.version).where(aliases.c.model == name).order_by(aliases.c.alias)
        with self._database.read_transaction() as connection:
            return {found.alias: VersionNumber(found.version) for found in connection.execute(statement)}

    def audit(self, name: str) -> Sequence[AuditEntry]:
        """Return the model's audit entries, oldest first."""
        statement = select(audit).where(audit.c.model == name).order_by(audit.c.id)
        with self._database.read_transaction() as connection:
            return [rows.audit_entry_from_row(found) for found in connection.execute(statement)]

    def artifact(self, digest: str) -> bytes:
        """Return the sealed bytes; raise NotFoundError when there are none, TamperedError when their digest differs."""
        with self._database.read_transaction() as connection:
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
