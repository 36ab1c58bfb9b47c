"""The walk-through of `examples/`, each command as it is written, against the real daemon."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from service.domain.registry.served_prediction import SERVED_PREFIX
from tests.acceptance.harness import STARTED, fetch, terminate, wait_until
from tests.acceptance.pages import shell_environment
from tests.services.process import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
BLOCKS = re.findall(r"^```sh ?(\w*)\n(.*?)^```$", (EXAMPLES / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def environment(tmp_path: Path) -> tuple[dict[str, str], int]:
    """`headrace` on the path, a port of its own for every role, and the server's."""
    port = free_port()
    given = {"HEADRACE_SERVER__PORT": str(port)}
    given |= {f"HEADRACE_{role}__PORT": "0" for role in ("LEARNER", "ARCHIVE", "TRAINER")}
    return {**shell_environment(tmp_path), **given}, port


def ran(text: str, folder: Path, environment: Mapping[str, str], port: int) -> str:
    """A block's output; the scripts are told where the server is."""
    url = f"http://127.0.0.1:{port}"
    text = text.replace("http://127.0.0.1:8420", url).replace("ask.sh", f"ask.sh {url}")
    text = text.replace("client.py", f"client.py {url}")
    done = subprocess.run(
        ["sh", "-euc", text], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_command_does_what_it_says(tmp_path: Path, environment: tuple[dict[str, str], int]) -> None:
    """From a CSV to answers that are scored: what is asked over HTTP is learned once it is labelled."""
    given, port = environment
    folder = tmp_path / "examples"
    shutil.copytree(EXAMPLES, folder)
    kinds = [kind for kind, _ in BLOCKS]
    assert kinds.count("daemon") == 1
    assert kinds[0] == "install"
    printed = ""
    for kind, text in BLOCKS:
        if kind == "install":
            continue
        if kind == "daemon":
            with (folder / "daemon.log").open("ab") as log:
                daemon = subprocess.Popen(text.split(), cwd=folder, env=given, stdout=log, stderr=log)
            STARTED.append(daemon)
            wait_until(lambda: _learned(port) >= 400)
            continue
        printed += ran(text, folder, given, port)
    assert re.search(r"^ +learned +400$", printed, re.MULTILINE)
    assert re.search(r"customer visit-\d+ leaves: (True|False)", printed)
    assert "scored and learned; metrics: {'Accuracy'" in printed
    assert printed.count('{"accepted":1}') == 2
    wait_until(lambda: _learned(port) == 403)
    assert terminate(daemon) == 0
    found = ran("headrace stream tail churn -n 20 --json", folder, given, port)
    assert found.count(SERVED_PREFIX.decode()[2:-2]) == 2


def _learned(port: int) -> int:
    """How many the newest checkpoint has learned; 0 before the server answers."""
    try:
        status, body = fetch(port, "/api/v1/models/churn")
    except OSError:
        return 0
    return int(msgspec.json.decode(body)["events"]["learned"]) if status == 200 else 0
