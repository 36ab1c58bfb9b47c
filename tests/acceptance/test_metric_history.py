"""A model's past as a curve, from the command line to the picture."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.acceptance.harness import Deployment, phishing_events
from tests.acceptance.rederived import with_opposite_labels

BRAILLE = re.compile("[\u2801-\u28ff]")


def colours(path: Path) -> int:
    """How many colours a picture has."""
    image = pytest.importorskip("matplotlib.image").imread(path)
    return len(np.unique((image[:, :, :3] * 255).astype(int).reshape(-1, 3), axis=0))


@pytest.mark.slow
def test_the_curve_shows_the_fall_and_the_rollback(tmp_path: Path) -> None:
    """Terminal, picture and JSON tell of wrong labels, of the rollback, and end with what `model show` says."""
    events = phishing_events(5000)
    deployment = Deployment(tmp_path / "model")
    parts = {
        ("snapshot", "phishing"): events[:2500],
        ("rollback", "phishing", "--to", "2", "--reason", "labels were swapped"): with_opposite_labels(
            events[2500:3500]
        ),
        ("show", "phishing"): events[3500:],
    }
    for afterwards, part in parts.items():
        deployment.publish(part)
        deployment.command("learn", "--until-end")
        deployment.command("model", *afterwards)
    drawn = deployment.command("model", "history", "phishing", "--plot", "--window", "200", "--png", "a.png").stdout
    assert len(BRAILLE.findall(drawn)) > 100
    assert "▲v2" in drawn
    assert "↺v3" in drawn
    assert colours(deployment.folder / "a.png") > 20
    assert (deployment.folder / "a.png").stat().st_size > 10_000
    told = json.loads(
        deployment.command(
            "model", "history", "phishing", "--json", "--window", "200", "--metric", "Accuracy", "--metric", "F1"
        ).stdout
    )["curve"]
    by_event = {point["event"]: point["metrics"]["Accuracy"] for point in told["points"]}
    assert by_event[max(event for event in by_event if event <= 2500)] > 0.8
    assert min(value for event, value in by_event.items() if 2500 < event < 3500) < 0.4
    assert told["scored"] == 5000
    shown = json.loads(deployment.command("model", "show", "phishing", "--json").stdout)["metrics"]
    whole = json.loads(deployment.command("model", "history", "phishing", "--json", "--metric", "F1").stdout)["curve"]
    assert whole["points"][-1]["metrics"]["F1"] == shown["window"]["F1"]
    assert whole["points"][-1]["baseline"]["F1"] == shown["baseline"]["window"]["F1"]
