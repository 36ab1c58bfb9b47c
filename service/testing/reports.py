"""The in-memory twin of the registry's reports."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from service.domain.registry.registry import VersionNumber
from service.domain.training.report import Report, ReportFormat
from service.errors import NotFoundError


class MemoryReports:
    """Implements `ports.training.Reports` for the versions that it was created with."""

    def __init__(self, versions: Sequence[tuple[str, int]]) -> None:
        self._versions = set(versions)
        self._reports: dict[tuple[str, int, ReportFormat], Report] = {}

    def save(self, reports: Sequence[Report]) -> None:
        """Store all reports or none; a report that exists already in its format stays.

        Raise NotFoundError for an unknown version.
        """
        unknown = next((one for one in reports if (one.model, one.version) not in self._versions), None)
        if unknown is not None:
            msg = f"found no version {unknown.version} of {unknown.model} to keep a report with"
            raise NotFoundError(msg)
        for one in reports:
            key = (one.model, one.version, one.format)
            self._reports.setdefault(key, replace(one, created_at=datetime.now(UTC)))

    def get(self, name: str, version: int, report_format: ReportFormat) -> Report:
        """Return the report; raise NotFoundError, naming the versions that have one."""
        found = self._reports.get((name, version, report_format))
        if found is None:
            known = ", ".join(map(str, self.list(name))) or "none"
            msg = f"found no report of version {version} of {name}, expected one of a version that was trained: {known}"
            raise NotFoundError(msg)
        return found

    def list(self, name: str) -> Sequence[VersionNumber]:
        """Return the versions that have a report, oldest first."""
        return [
            VersionNumber(number)
            for number in sorted({version for model, version, _ in self._reports if model == name})
        ]
