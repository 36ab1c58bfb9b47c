"""What an older release has written is opened, learned on and rolled back to (see tests/fixtures/old_release)."""

import json
import tarfile
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.harness import Deployment
from tests.fixtures.old_release.write import EVENTS, MODELS, MORE, said, stream_of, versions

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[1] / "fixtures" / "old_release"


def restored(name: str, kind: str, folder: Path, url: str | None) -> Deployment:
    """The deployment as the older release left it, its registry brought up to date."""
    with tarfile.open(FOLDER / f"{name}-{kind}.tar.gz") as archive:
        archive.extractall(folder, filter="tar")
    if url is not None:
        lines = (folder / "registry.sql").read_text(encoding="utf-8").splitlines(keepends=True)
        statements = "".join(line for line in lines if not line.startswith("\\"))
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(statements.encode())
    return Deployment(folder, MODELS[name], registry_url=url)


def close(found: Any, recorded: Any) -> None:
    """Equal but for the last bits, in which other processors differ."""
    if isinstance(recorded, dict):
        assert found.keys() == recorded.keys()
        for key, one in recorded.items():
            close(found[key], one)
    elif isinstance(recorded, list):
        assert len(found) == len(recorded)
        for one, other in zip(found, recorded, strict=True):
            close(one, other)
    else:
        assert found == (pytest.approx(recorded, rel=1e-9) if isinstance(recorded, float) else recorded)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("name", list(MODELS))
def test_an_older_release_is_carried_on(request: pytest.FixtureRequest, tmp_path: Path, name: str, kind: str) -> None:
    """Its versions and newest state predict as they did, and learning on and rolling back end where they did."""
    recorded = json.loads((FOLDER / f"{name}-{kind}.json").read_text(encoding="utf-8"))
    url = None if kind == "sqlite" else str(request.getfixturevalue("postgres_url"))
    found = restored(name, kind, tmp_path, url)
    close(versions(found), recorded["versions"])
    close(said(found), recorded["newest"])
    found.publish(stream_of(found.model, EVENTS, EVENTS + MORE))
    found.command("learn", "--until-end")
    close(said(found), recorded["learned_on"])
    found.command("model", "rollback", "phishing", "--to", "2", "--reason", "back")
    close(said(found), recorded["rolled_back"])
    found.publish(stream_of(found.model, EVENTS + MORE, EVENTS + 2 * MORE))
    found.command("learn", "--until-end")
    close(said(found), recorded["learned_after"])
    found.command("registry", "verify")
