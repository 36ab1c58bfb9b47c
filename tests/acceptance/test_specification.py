"""The server does what its specification says, whatever it is sent."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.acceptance.admin_api import Api, shared_api
from tests.acceptance.test_access_over_http import ACCESS
from tests.budget import FULL, SPECIFICATION_S

CONFIGURATION = Path(__file__).parent / "schemathesis" / "schemathesis.toml"
SEED = "20260131"
UNDOCUMENTED = {"/docs", "/api/v1/openapi.json"}
"""Pages that show the specification, and it itself."""
THERE = {"model": ["phishing", "other"], "m": ["phishing", "other"], "version": [1], "letter": [1, 2]}
"""What the deployment has."""
LAST = ("revokeToken", "deleteModel")
"""Acts after which there is nothing left to ask of: tried for themselves."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server that asks for tokens, over models that have learned."""
    with shared_api(tmp_path_factory.mktemp("specification"), concurrency=256) as found:
        yield found


@pytest.fixture(scope="module")
def specification(api: Api) -> Mapping[str, Any]:
    """As the server tells it."""
    found: Mapping[str, Any] = api.ask("GET", "/openapi.json", None).json()
    return found


def operations(specification: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Method, address and operation."""
    for path, item in specification["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def test_every_route_is_specified(specification: Mapping[str, Any]) -> None:
    """Each route has an operation with an id of its own, and no operation is of a route that is gone."""
    found = list(operations(specification))
    assert {(method, path) for method, path, _ in found} == {one for one in ACCESS if one[1] not in UNDOCUMENTED}
    ids = [operation["operationId"] for _, _, operation in found]
    assert len(ids) == len(set(ids))


def test_what_needs_a_token_says_so(specification: Mapping[str, Any]) -> None:
    """Security stands beside every route but the public ones, and so do 401, 403 and 429."""
    for method, path, operation in operations(specification):
        secured = ACCESS[method, path] is not None
        assert operation["security"] == ([{"token": []}] if secured else [])
        assert ({"401", "403", "429"} <= operation["responses"].keys()) is secured
    assert specification["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}


def test_every_body_has_an_example_that_fits(specification: Mapping[str, Any]) -> None:
    """Each request and each answer with a body has an example, and the example is valid."""
    for method, path, operation in operations(specification):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for kind, media in (item for body in bodies for item in body.get("content", {}).items()):
            assert "example" in media, (method, path, kind)
            schema = {**media["schema"], "components": specification["components"]}
            jsonschema.Draft202012Validator(schema).validate(media["example"])


def narrowed(specification: Mapping[str, Any], folder: Path) -> Path:
    """The specification with what is there as the values of paths, and bodies of JSON: others it cannot make up."""
    for _, _, operation in operations(specification):
        for one in operation.get("parameters", ()):
            if one["in"] == "path" and one["name"] in THERE:
                one["schema"] = {"enum": THERE[one["name"]]}
        content = operation.get("requestBody", {}).get("content", {})
        for kind in set(content) - {"application/json"}:
            del content[kind]
    path = folder / "openapi.json"
    path.write_text(json.dumps(specification), encoding="utf-8")
    return path


def schemathesis(api: Api, file: Path, *arguments: str, seconds: int) -> "subprocess.CompletedProcess[str]":
    """Its command line, for so long and from the same seed."""
    url = f"http://127.0.0.1:{api.served.port}"
    given = [str(file), "--url", url, "--seed", SEED, "--max-time", str(seconds)]
    header = f"Authorization: Bearer {api.tokens['admin']}"
    copied = shutil.copy(CONFIGURATION, file.parent)  # it keeps its cache beside its configuration
    config = ["--config-file", str(copied)]
    program = [sys.executable, "-m", "schemathesis.cli", *config, "run", *given, "-H", header, *arguments]
    return subprocess.run(program, cwd=file.parent, capture_output=True, text=True, timeout=seconds + 600, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [SPECIFICATION_S, pytest.param(60, marks=FULL)])
def test_the_server_keeps_to_its_specification(api: Api, tmp_path: Path, seconds: int) -> None:
    """Half a minute or more of good and bad requests, alone and in sequences, finds no answer that the specification does not have."""
    left_out = [part for name in LAST for part in ("--exclude-operation-id", name)]
    file = narrowed(api.ask("GET", "/openapi.json", None).json(), tmp_path)
    done = schemathesis(api, file, *left_out, "--continue-on-failure", seconds=seconds)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "Tested:" in done.stdout


@pytest.mark.slow
def test_what_ends_something_keeps_to_it_too(api: Api, tmp_path: Path) -> None:
    """So do the acts after which a model or a token is gone."""
    included = [part for name in LAST for part in ("--include-operation-id", name)]
    file = narrowed(api.ask("GET", "/openapi.json", None).json(), tmp_path)
    done = schemathesis(api, file, *included, "--max-examples", "20", seconds=10)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
