"""`headrace demo`: what a reader of the README sees first."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service import config


@pytest.mark.slow
def test_the_demonstration(tmp_path: Path) -> None:
    """Under 90 seconds it learns, is killed, comes back, is misled and rolled back, and leaves its configuration."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "service", "demo", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - began < 90
    for told in ("snapshot: version 2", "SIGKILL", "learning again", "opposite", "version 3 restores version 2"):
        assert told in done.stdout
    text = " ".join(done.stdout.split())
    assert "105,000 of 105,000 events learned, once each" in text
    sound, misled, again = (float(one) for one in re.findall(r"accuracy (0\.\d+)", text))
    assert sound > 0.85
    assert again > 0.85
    assert misled > 0.5
    assert f"cd {tmp_path} &&" in text
    assert config.load(tmp_path / "headrace.yaml").models[0].name == "phishing"
