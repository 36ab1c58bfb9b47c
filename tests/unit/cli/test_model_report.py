"""`headrace model report` prints and writes the report that is stored with a version."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.bootstrap import open_app
from service.cli.app import app
from service.config import load_settings
from service.operations.reporting.report import version_reports
from tests.contract.registry_values import founded
from tests.unit.operations.reporting.test_report import report


def command(configuration: Path, *arguments: str) -> Result:
    """Run `model report` with these arguments."""
    words = ["model", "report", *arguments, "--config", str(configuration)]
    return CliRunner().invoke(app, words, catch_exceptions=False)


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """Return a registry with a model that was never trained."""
    path = tmp_path / "headrace.yaml"
    assert CliRunner().invoke(app, ["init", "--config", str(path)], catch_exceptions=False).exit_code == 0
    with open_app(load_settings(path)) as opened:
        founded(opened.registry)
    return path


@pytest.fixture
def trained(configuration: Path) -> Path:
    """Return the same registry after a retraining."""
    with open_app(load_settings(configuration)) as opened:
        opened.registry.reports.save(version_reports(replace(report(), model="phishing"), version=1))
    return configuration


def test_it_prints_the_newest(trained: Path) -> None:
    """Without a version the newest report is printed, as Markdown if there is no terminal."""
    found = command(trained, "phishing")
    assert found.exit_code == 0
    assert found.stdout.startswith("# Retraining of phishing, version 1")
    assert command(trained, "phishing", "1", "--markdown").stdout == found.stdout


def test_it_writes_html(trained: Path, tmp_path: Path) -> None:
    """`--html` writes the report with its plots into a file."""
    path = tmp_path / "report.html"
    found = command(trained, "phishing", "--html", str(path))
    assert (found.exit_code, "is in" in found.stdout, "# Retraining" in found.stdout) == (0, True, False)
    assert path.read_text("utf-8").count("<svg") >= 3
    assert command(trained, "phishing", "--html", str(tmp_path / "no" / "folder")).exit_code == 1


def test_it_prints_json(trained: Path) -> None:
    """`--json` prints the data of the report."""
    found = json.loads(command(trained, "phishing", "--json").stdout)
    assert found["decision"]["outcome"] == "becomes a challenger"
    assert found["evaluation"]["candidate"]["metrics"]["Accuracy"]["method"] == "Wilson"


def test_it_says_what_there_is_not(configuration: Path, trained: Path) -> None:
    """Unknown models and versions exit with 1 and a sentence that names the known ones."""
    found = command(trained, "phishing", "7")
    assert found.exit_code == 1
    assert "trained: 1" in " ".join(found.stderr.split())
    assert command(configuration, "nobody").exit_code == 1


def test_a_model_that_was_never_trained(configuration: Path) -> None:
    """A model without a report exits with 1 and says where to look."""
    found = command(configuration, "phishing")
    assert found.exit_code == 1
    assert "no report of phishing" in found.stderr
