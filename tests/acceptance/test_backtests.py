"""What another specification would have done on the same history."""

import json
from pathlib import Path

import pytest
import yaml

from tests.acceptance.harness import PHISHING, Deployment, phishing_events
from tests.acceptance.rederived import versions

OTHER = {**PHISHING, "estimator": ["preprocessing.StandardScaler", "naive_bayes.GaussianNB"], "metrics": ["Accuracy"]}


@pytest.mark.slow
def test_both_are_scored_on_the_same_history(tmp_path: Path) -> None:
    """Each gets exactly the metrics of a model that learned those records live; the registry is as it was."""
    events = phishing_events(3000)
    deployment, other = Deployment(tmp_path / "present"), Deployment(tmp_path / "other", OTHER)
    for one in (deployment, other):
        one.publish(events[:1000])
        one.command("learn", "--until-end")
        one.command("model", "snapshot", "phishing", "--as", "early")
        one.publish(events[1000:])
        one.command("learn", "--until-end")
    before = (deployment.state(), versions(deployment))
    spec = str(other.folder / "headrace.yaml")
    ask = ("model", "replay", "phishing", "--spec", spec)
    found = json.loads(deployment.command(*ask, "--json").stdout)
    assert found["records"] == 3000
    for key, one in (("present", deployment), ("other", other)):
        state = one.state()
        assert found[key]["cumulative"] == state.report["cumulative"]
        assert found[key]["window"] == state.report["window"]
        assert found[key]["counts"] == state.counts
    part = json.loads(deployment.command(*ask, "--from", "early", "--json").stdout)
    assert (part["from"], part["to"], part["records"]) == ("version 2", "the present", 2000)
    assert part["present"]["window"]["Accuracy"] == deployment.state().report["window"]["Accuracy"]
    assert part["other"]["counts"] == {"learned": 2000}
    early = json.loads(deployment.command(*ask, "--to", "early", "--json").stdout)
    assert early["records"] == 1000
    table = deployment.command(*ask, "--to", "early").stdout
    for word in ("1,000 records", "metric", "present", "other", "Accuracy", "ROCAUC"):
        assert word in table
    backwards = deployment.command(*ask, "--from", "early", "--to", "1", check=False)
    assert backwards.returncode == 3
    assert "--from before --to" in backwards.stderr
    assert (deployment.state(), versions(deployment)) == before
    elsewhere = yaml.safe_load((other.folder / "headrace.yaml").read_text(encoding="utf-8"))
    elsewhere["models"][0]["events"] = "others"
    (tmp_path / "elsewhere.yaml").write_text(yaml.safe_dump(elsewhere), encoding="utf-8")
    wrong = deployment.command("model", "replay", "phishing", "--spec", str(tmp_path / "elsewhere.yaml"), check=False)
    assert wrong.returncode == 1
    assert "expected phishing.events" in wrong.stderr
