"""A model that another release of river wrote comes back by replay."""

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance.harness import PHISHING, Deployment, phishing_events
from tests.acceptance.rederived import versions, with_opposite_labels
from tests.acceptance.test_replay import is_that, never_seen
from tests.services.presence import need

OLDER = "0.25.0"
SHIM = """
import river.base

river.base.AnomalyFilter = type("AnomalyFilter", (), {})
"""
"""What this program asks of river and that release has not; nothing of it comes into a pickle."""
MODEL = {
    **PHISHING,
    "estimator": ["preprocessing.MinMaxScaler", "tree.HoeffdingTreeClassifier"],
    "drift": [{"name": "errors", "on": "error"}],
}


@pytest.fixture(scope="session")
def older_river(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """An environment whose processes find the older release before the installed one."""
    folder = tmp_path_factory.mktemp("river")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    done = subprocess.run([*install, f"river=={OLDER}"], capture_output=True, text=True, timeout=300, check=False)
    need(f"river {OLDER} cannot be installed: {done.stderr.strip()[-200:]}" if done.returncode else None)
    (folder / "sitecustomize.py").write_text(SHIM, encoding="utf-8")
    here = str(Path(__file__).parents[2])
    return {"PYTHONPATH": f"{folder}:{here}"}


@pytest.mark.slow
@pytest.mark.parametrize("poisoned", [False, True], ids=["whole", "without a window"])
def test_it_comes_back_by_replay(older_river: Mapping[str, str], tmp_path: Path, poisoned: bool) -> None:
    """`learn` names the command; that rebuilds exactly the model which the installed river teaches from the start."""
    events = phishing_events(3000)
    values = events[:1000] + with_opposite_labels(events[1000:1500]) + events[1500:] if poisoned else events
    deployment = Deployment(tmp_path / "older", MODEL)
    deployment.publish(values)
    for arguments in (("learn", "--until-end"), ("model", "snapshot", "phishing")):
        assert deployment.start(*arguments, environment=older_river).wait(timeout=120) == 0, deployment.log()
    made = [version.environment["river"] for version in versions(deployment)]
    assert made == [OLDER, OLDER]

    refused = deployment.command("learn", "--until-end", check=False)
    assert refused.returncode == 3
    for word in (
        f"river {OLDER}",
        importlib.metadata.version("river"),
        "headrace model rollback phishing --mode replay",
    ):
        assert word in refused.stderr
    window = ["--exclude", "1000..1500"] if poisoned else []
    said = deployment.command("model", "rollback", "phishing", "--mode", "replay", *window, "--reason", "new river")
    assert "replays from version 1" in said.stdout
    gone = [(1000, 1500)] if poisoned else []
    assert is_that(deployment, never_seen(tmp_path / "first", values, *gone, model=MODEL))
    newest = versions(deployment)[-1]
    assert newest.environment["river"] == importlib.metadata.version("river")

    values += phishing_events(4000)[3000:]
    deployment.publish(values[3000:])
    deployment.command("learn", "--until-end")
    assert is_that(deployment, never_seen(tmp_path / "later", values, *gone, model=MODEL))
    audit = json.loads(deployment.command("model", "history", "phishing", "--json").stdout)["audit"]
    assert audit[-1]["reason"] == "new river"
