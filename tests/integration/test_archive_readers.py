"""The examples of the archive's page run as they stand, on an archive that the program wrote."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.harness import Deployment, phishing_events
from tests.services.presence import need

PAGE = Path(__file__).parents[2] / "docs" / "archive.md"
EXAMPLES = re.findall(
    r"^With (\w+):\n\n```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deployment with an archive of three files."""
    deployment = Deployment(tmp_path_factory.mktemp("readers"), archive={"range": 500})
    deployment.publish(phishing_events(1250))
    deployment.command("archive", "--until-end")
    return deployment.folder


def test_there_are_three_examples() -> None:
    """One each for polars, DuckDB and Spark."""
    assert [name for name, _ in EXAMPLES] == ["polars", "DuckDB", "Spark"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_the_example_of_the_page(folder: Path, name: str, code: str) -> None:
    """It prints how many events there are of each label."""
    if name == "Spark":
        need("Spark needs Java" if shutil.which("java") is None else None)
    environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_HOSTNAME": "localhost"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    positive = sum(b'"y":true' in event for event in phishing_events(1250))
    assert str(positive) in done.stdout
