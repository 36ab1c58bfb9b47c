"""Training reports, kept with the versions that they describe."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, insert, select

from service.domain.registry.registry import VersionNumber
from service.domain.training.report import Report, ReportFormat
from service.errors import NotFoundError
from service.storage.database import Database
from service.storage.schema.registry import versions
from service.storage.schema.reports import reports


class SqlReports:
    """Implements `ports.training.Reports`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, reports_to_save: Sequence[Report]) -> None:
        """Save the reports in one transaction; keep a report that exists in the same format.

        Raise NotFoundError for an unknown version.
        """
        with self._database.write_transaction() as connection:
            now = self._database.now(connection)
            for one in reports_to_save:
                if one.format not in _stored_formats(connection, one):
                    insert_report(connection, one, now=now)

    def get(self, name: str, version: int, report_format: ReportFormat) -> Report:
        """Return the report; raise NotFoundError, which names the versions that have one."""
        where = (reports.c.model == name, reports.c.version == version, reports.c.format == report_format)
        with self._database.read_transaction() as connection:
            row = connection.execute(select(reports).where(*where)).one_or_none()
        if row is None:
            known = ", ".join(map(str, self.list(name))) or "none"
            msg = f"found no report of version {version} of {name}, expected one of a version that was trained: {known}"
            raise NotFoundError(msg)
        return Report(row.model, row.version, ReportFormat(row.format), row.text, row.created_at)

    def list(self, name: str) -> Sequence[VersionNumber]:
        """Return the versions that have a report, oldest first."""
        statement = select(reports.c.version).where(reports.c.model == name).distinct().order_by(reports.c.version)
        with self._database.read_transaction() as connection:
            return [VersionNumber(version) for version in connection.execute(statement).scalars()]


def insert_report(connection: Connection, report: Report, *, now: datetime) -> None:
    """Insert a report in a format that the version does not have yet."""
    values = {"model": report.model, "version": report.version, "format": report.format, "text": report.text}
    connection.execute(insert(reports).values(**values, created_at=now))


def _stored_formats(connection: Connection, wanted: Report) -> Sequence[str]:
    """Return the formats that are stored for the version.

    Locks the version's row, so that two processes that save the same report do not collide.
    """
    version = (versions.c.model == wanted.model, versions.c.number == wanted.version)
    if connection.execute(select(versions.c.id).where(*version).with_for_update()).first() is None:
        msg = (
            f"found no version {wanted.version} of {wanted.model} to keep a report with; "
            f"see `headrace model history {wanted.model}`"
        )
        raise NotFoundError(msg)
    where = (reports.c.model == wanted.model, reports.c.version == wanted.version)
    return list(connection.execute(select(reports.c.format).where(*where)).scalars())
