"""What the pages on HTTP tell to type is typed, and answers as they say."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.harness import PHISHING, Deployment, fetch, phishing_events, terminate, wait_until
from tests.acceptance.pages import commands, documents, shape, shell, shell_environment
from tests.services.process import free_port

PORT = "8420"
MORE = {"labels": "phishing.labels", "drift": [{"name": "errors", "on": "error", "detector": "drift.ADWIN"}]}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A model that has learned, with a topic of labels."""
    made = Deployment(tmp_path_factory.mktemp("pages"), {**PHISHING, **MORE})
    made.publish(phishing_events(500))
    made.publish([], topic="phishing.labels")
    made.command("learn", "--until-end")
    return made


@pytest.fixture(autouse=True, scope="module")
def _no_process_is_left() -> None:
    """The module's server outlives its tests."""


@pytest.fixture(scope="module")
def port(deployment: Deployment) -> Iterator[str]:
    """Of a server that lets everybody in."""
    yield from _started(deployment)


@pytest.fixture(scope="module")
def guarded_port(deployment: Deployment) -> Iterator[str]:
    """Of a server that asks for tokens, over a model of several versions."""
    for number in range(3):
        deployment.command("model", "snapshot", "phishing", "--reason", f"{number}")
    yield from _started(deployment, HEADRACE_SERVER__AUTH="tokens")


def _started(deployment: Deployment, **environment: str) -> Iterator[str]:
    """As the page on serving begins, on a port of its own."""
    command, _ = commands("serving.md")[0]
    name, *arguments, port = command.split()
    assert (name, port) == ("headrace", PORT)
    own = free_port()
    process = deployment.start(*arguments, str(own), environment=environment)
    wait_until(lambda: _ready(own))
    yield str(own)
    terminate(process)


def _ready(port: int) -> bool:
    try:
        return fetch(port, "/readyz")[0] == 200
    except OSError:
        return False


@pytest.mark.parametrize(("page", "first"), [("serving.md", 1), ("ingestion.md", 0)])
def test_what_is_typed_is_answered_as_the_page_says(
    page: str, first: int, deployment: Deployment, port: str, tmp_path: Path
) -> None:
    """Each command of the page ends well, and each of its answers has exactly the members that are printed there."""
    require_as_told(page, deployment, port, tmp_path, first=first)


@pytest.mark.slow
def test_what_is_typed_to_the_admin_api(deployment: Deployment, guarded_port: str, tmp_path: Path) -> None:
    """A token that was just made lists the models, rolls one back, and asks for what takes longer."""
    require_as_told("http.md", deployment, guarded_port, tmp_path)


def require_as_told(page: str, deployment: Deployment, port: str, folder: Path, *, first: int = 0) -> None:
    """Each request is answered by a document; the last of a block is in shape what stands below it, or is no problem."""
    environment = shell_environment(folder)
    told = commands(page)[first:]
    assert told
    for text, expected in told:
        printed = shell(text.replace(PORT, port), deployment.folder, environment)
        found = list(documents(printed))
        assert len(found) == text.count("curl ")
        if expected is None:
            assert not any("status" in one and "title" in one for one in found), printed
            continue
        assert shape(found[-1]) >= shape(expected)
        assert found[-1].keys() == expected.keys()
