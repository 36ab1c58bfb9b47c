"""What is promised of reports, in memory and over both databases."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from service.domain.registry.registry import ModelName, VersionNumber
from service.domain.training.report import Report, ReportFormat
from service.errors import NotFoundError
from service.ports.training import Reports
from service.storage.registry import Registry
from service.testing.reports import MemoryReports
from tests.contract.registry_values import NAME, count, founded, leased, snapshot

FIRST = Report(NAME, VersionNumber(1), ReportFormat.MARKDOWN, "# Retraining\n\n\N{SNOWMAN} | <b>")
HTML = replace(FIRST, format=ReportFormat.HTML, text="<html>" + "x" * 300_000)
SECOND = replace(FIRST, version=VersionNumber(2), text="# Again")


@pytest.fixture(params=["memory", "registry"])
def reports(request: pytest.FixtureRequest, registry: Registry) -> Reports:
    """Return reports of a model with two versions, and of another with one."""
    if request.param == "memory":
        return MemoryReports([(NAME, 1), (NAME, 2), ("other", 1)])
    registry.changes.snapshot(snapshot(leased(registry)))
    founded(registry, "other")
    return registry.reports


def test_they_come_back_as_they_were_kept(reports: Reports) -> None:
    """Each format comes back as it was saved, of any size, with the time of saving."""
    reports.save([FIRST, HTML])
    for one in (FIRST, HTML):
        found = reports.get(NAME, 1, one.format)
        assert replace(found, created_at=None) == one
        assert found.created_at is not None


def test_the_versions_that_have_one(reports: Reports) -> None:
    """Versions with a report are listed oldest first, each once, for each model alone."""
    assert reports.list(NAME) == []
    reports.save([SECOND])
    reports.save([FIRST, HTML])
    assert reports.list(NAME) == [1, 2]
    assert reports.list("other") == []


def test_what_is_kept_stays(reports: Reports) -> None:
    """Saving a version's report again changes nothing, and adds a format that was missing."""
    reports.save([FIRST])
    reports.save([replace(FIRST, text="altered"), HTML])
    assert reports.get(NAME, 1, ReportFormat.MARKDOWN).text == FIRST.text
    assert reports.get(NAME, 1, ReportFormat.HTML).text == HTML.text


def test_a_version_that_there_is_not(reports: Reports) -> None:
    """A report of an unknown version is refused, with all others saved in the same call."""
    with pytest.raises(NotFoundError, match="no version 9"):
        reports.save([FIRST, replace(FIRST, version=VersionNumber(9))])
    with pytest.raises(NotFoundError, match="no version 1 of nobody"):
        reports.save([replace(FIRST, model=ModelName("nobody"))])
    assert reports.list(NAME) == []


def test_a_report_that_there_is_not(reports: Reports) -> None:
    """The message names the versions that have one."""
    with pytest.raises(NotFoundError, match="trained: none"):
        reports.get(NAME, 1, ReportFormat.HTML)
    reports.save([FIRST, SECOND])
    with pytest.raises(NotFoundError, match=r"version 3 of phishing, .*: 1, 2"):
        reports.get(NAME, 3, ReportFormat.MARKDOWN)


def test_they_go_with_their_model(registry: Registry, open_one: Callable[[], Registry]) -> None:
    """A deleted model leaves no report behind."""
    lease = leased(registry)
    registry.reports.save([FIRST])
    registry.leases.release(lease)
    registry.models.delete(NAME, actor="ann", reason="")
    assert count(open_one(), "reports") == 0
