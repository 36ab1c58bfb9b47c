"""A version may have a name, and a rollback takes it."""

import json
from pathlib import Path

from typer.testing import CliRunner

from service.cli.app import app
from tests.acceptance.harness import Deployment, phishing_events


def headrace(deployment: Deployment, *arguments: str) -> tuple[int, str]:
    """Exit code and everything printed."""
    done = CliRunner().invoke(app, [*arguments, "--config", str(deployment.folder / "headrace.yaml")])
    return done.exit_code, " ".join(done.output.split())


def test_an_alias_stands_for_a_version_and_moves(tmp_path: Path) -> None:
    """Rolling back to a name restores its version; giving the name again moves it; a wrong one is listed with the good."""
    deployment = Deployment(tmp_path)
    events = phishing_events(2000)
    deployment.publish(events[:1000])
    deployment.command("learn", "--until-end")
    assert headrace(deployment, "model", "snapshot", "phishing", "--as", "before-sale") == (0, "version 2")
    before = deployment.state()
    deployment.publish(events[1000:])
    deployment.command("learn", "--until-end")
    assert deployment.state().probes != before.probes
    code, printed = headrace(deployment, "model", "rollback", "phishing", "--to", "before-sale")
    assert (code, printed[:40]) == (0, "version 3 restores version 2 at phishing")
    assert deployment.state().probes == before.probes
    assert headrace(deployment, "model", "snapshot", "phishing", "--as", "before-sale")[0] == 0
    history = json.loads(headrace(deployment, "model", "history", "phishing", "--json")[1])
    assert history["aliases"] == {"before-sale": 4}
    code, printed = headrace(deployment, "model", "rollback", "phishing", "--to", "before-sael")
    assert code == 1
    assert "expected one of 1, 2, 3, 4, before-sale" in printed
    assert headrace(deployment, "model", "snapshot", "phishing", "--as", "7")[0] == 2
