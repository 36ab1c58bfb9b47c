"""`headrace demo`: what a reader of the README sees first."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service import config
from tests.acceptance.test_metric_history import BRAILLE, colours

LONGEST_S = 180
"""Two minutes, and what a test that runs beside it may take."""


@pytest.mark.slow
def test_the_demonstration(tmp_path: Path) -> None:
    """The whole loop within two minutes: killed, left behind, replaced, misled, rolled back; it leaves its configuration."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "service", "demo", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=2 * LONGEST_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - began < LONGEST_S
    text = " ".join(done.stdout.split())
    told = (
        "snapshot: version 2",
        "SIGKILL",
        "learning again",
        "the world changes",
        "crosses 0.700",
        "the trainer asks for job 1: drift",
        "version 3 challenges",
        "version 3 takes over",
        "probation is over",
        "a burst of wrong labels",
        "has learned the lie",
        "version 4 takes over: it has never seen the burst",
    )
    assert [one for one in told if one not in text] == []
    assert [text.index(one) for one in told] == sorted(text.index(one) for one in told)
    fallen, before = (
        float(one) for one in re.search(r"accuracy (0\.\d+) crosses 0\.700, it was (0\.\d+)", text).groups()
    )
    assert fallen < 0.7 < before
    misled, sound = (float(one) for one in re.search(r"accuracy (0\.\d+), it was (0\.\d+): the model", text).groups())
    (again,) = (float(one) for one in re.findall(r"accuracy (0\.\d+) again", text))
    assert misled < 0.75
    assert min(sound, again) > 0.85
    assert len(BRAILLE.findall(done.stdout)) > 100
    assert colours(tmp_path / "accuracy.png") > 20
    assert f"cd {tmp_path} &&" in text
    assert config.load_settings(tmp_path / "headrace.yaml").models[0].name == "phishing"
