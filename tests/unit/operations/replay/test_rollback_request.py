"""Rollback requests, as the command line and HTTP validate them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from service.bootstrap import App
from service.cli.app import app as command_line
from service.domain.registry.rollback_mode import RollbackMode
from service.errors import NotFoundError, RefusedError
from service.operations.replay.rollback_request import RollbackRequest, arguments, planned, preview
from service.serving.admin.routes import rollback
from tests.acceptance.harness import PHISHING, Deployment
from tests.contract.registry_values import NAME, leased

FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"to": "1", "at": "2026-01-31T12:00:00Z"}, "found both TO and AT, expected one of them"),
    ({}, "found neither TO nor AT, expected one of them, or MODE replay"),
    ({"mode": "restore", "exclude": ["1..2"]}, "found neither TO nor AT, expected one of them, or MODE replay"),
    ({"freeze": True}, "found neither TO nor AT, expected one of them, or MODE replay"),
    (
        {"to": "1", "freeze": True},
        "found EXCLUDE, FREEZE or ACCEPT_GAP with MODE restore, expected them with MODE replay",
    ),
    (
        {"to": "1", "mode": "restore", "exclude": ["1..2"]},
        "found EXCLUDE, FREEZE or ACCEPT_GAP with MODE restore, expected them with MODE replay",
    ),
]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """The object graph over a registry with one model."""
    deployment = Deployment(tmp_path, dict(PHISHING))
    deployment.publish([])
    with deployment.app() as opened:
        leased(opened.registry, ttl_s=-1.0)
        yield opened


def request_of(asked: dict[str, Any]) -> RollbackRequest:
    """Return the request with these fields."""
    return RollbackRequest(**{key: RollbackMode(value) if key == "mode" else value for key, value in asked.items()})


def spelled(fault: str, form: str) -> str:
    """Return the sentence with each option as its user writes it."""
    for field in ("accept_gap", "exclude", "freeze", "mode", "to", "at"):
        fault = fault.replace(field.upper(), form.format(field))
    return fault


@pytest.mark.parametrize(("asked", "fault"), FAULTS)
def test_what_does_not_fit_together(app: App, asked: dict[str, Any], fault: str) -> None:
    """Command line and HTTP refuse the same requests with the same sentence, each in its own spelling."""
    assert request_of(asked).fault(str.upper) == fault

    with pytest.raises(ValidationError) as refused:
        rollback.RollbackRequest.model_validate(asked)
    assert spelled(fault, "`{}`") in str(refused.value)

    given = [f"--{key}" if value is True else f"--{key}={''.join(value)}" for key, value in asked.items()]
    config = str(Path(app.settings.storage.key_file).parents[1] / "headrace.yaml")
    done = CliRunner().invoke(command_line, ["model", "rollback", NAME, *given, "--config", config])
    assert done.exit_code == 2
    said = fault.replace("TO ", "--to VERSION ").replace("AT,", "--at TIME,")
    assert spelled(said, "--{}").replace("_", "-") in " ".join(done.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("asked", "replays"),
    [
        ({"to": "1"}, False),
        ({"to": "1", "mode": "replay"}, True),
        ({"exclude": ["1..2"]}, True),
        ({"to": "1", "exclude": ["1..2"]}, True),
    ],
)
def test_which_mode_is_meant(asked: dict[str, Any], replays: bool) -> None:
    """A request with exclusions is a replay; without them a state is restored, unless the mode says replay."""
    assert request_of(asked).replays is replays
    assert request_of(asked).fault(str) is None


def test_what_it_would_do(app: App) -> None:
    """A preview names the state that would be restored, or raises what the rollback itself would raise."""
    restore = RollbackRequest(to="1", reason="worse")
    assert preview(app.services, NAME, restore) == {"model": NAME, "mode": "restore", "to": "version 1", "version": 1}
    assert arguments(app.services, NAME, restore) == {"to": "1", "at": None, "reason": "worse"}
    for told in (preview, arguments):
        with pytest.raises(NotFoundError, match="found no version 9"):
            told(app.services, NAME, RollbackRequest(to="9"))
    for replayed in (preview, planned):
        with pytest.raises((NotFoundError, RefusedError)):
            replayed(app.services, NAME, RollbackRequest(to="9", mode=RollbackMode.REPLAY))
