"""Versions move between registries, and retention can be asked for by hand."""

from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from service.cli.app import app
from service.domain.registry.registry import CommandKind
from tests.acceptance.harness import PHISHING, Deployment, phishing_events

EVENTS = phishing_events(3000)


def headrace(deployment: Deployment, *arguments: str) -> tuple[int, str]:
    """Exit code and everything printed."""
    done = CliRunner().invoke(app, [*arguments, "--config", str(deployment.folder / "headrace.yaml")])
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A registry whose model has a snapshot, version 2."""
    found = Deployment(tmp_path_factory.mktemp("origin"))
    found.publish(EVENTS)
    found.command("learn", "--until-end")
    with found.app() as app_:
        app_.run_command("phishing", CommandKind.SNAPSHOT, {"reason": "to be moved"}, actor="test")
    return found


def test_a_version_founds_a_model_elsewhere(origin: Deployment, tmp_path: Path) -> None:
    """It predicts exactly as where it came from, and goes on learning the new stream."""
    file = tmp_path / "phishing.hrx"
    assert headrace(origin, "registry", "export", "phishing", "2", str(file))[0] == 0
    target = Deployment(tmp_path / "target", {**PHISHING, "name": "moved", "events": "other.events"})
    key = str(origin.folder / "var" / "headrace.key")
    code, printed = headrace(target, "registry", "import", str(file), "--as", "moved", "--key-file", key)
    assert code == 0, printed
    entry = yaml.safe_load(printed[printed.index("- name") :])[0]
    assert entry["name"] == "moved"
    assert entry["estimator"] == PHISHING["estimator"]
    assert target.state().probes == origin.state().probes
    configuration = yaml.safe_load((target.folder / "headrace.yaml").read_text())
    configuration["models"] = [entry]
    (target.folder / "headrace.yaml").write_text(yaml.safe_dump(configuration))
    moved = Deployment.publish
    target.model = {**target.model, "events": entry["events"]}
    moved(target, phishing_events(3500)[3000:])
    target.command("learn", "--until-end")
    assert target.state().counts == {"learned": 3500}


def test_a_parcel_of_another_key_is_refused(origin: Deployment, tmp_path: Path) -> None:
    """Without the key it was sealed with, nothing is registered and the message says what is wrong."""
    file = tmp_path / "phishing.hrx"
    headrace(origin, "registry", "export", "phishing", "2", str(file))
    target = Deployment(tmp_path / "target")
    code, printed = headrace(target, "registry", "import", str(file))
    assert code == 1
    assert "another key" in " ".join(printed.split())
    with target.app() as app_:
        assert not app_.registry.models.list()


@pytest.mark.parametrize("damage", [b"", b"HRX1", b"PK\x03\x04rubbish", b"HRX1\x93\x01\x02\x03"])
def test_what_is_no_parcel_is_refused(origin: Deployment, tmp_path: Path, damage: bytes) -> None:
    """Any other file is an error of one sentence."""
    file = tmp_path / "rubbish"
    file.write_bytes(damage)
    code, printed = headrace(origin, "registry", "import", str(file), "--as", "x")
    assert code == 1
    assert "expected one that `headrace registry export` wrote" in " ".join(printed.split())


def test_an_export_never_overwrites(origin: Deployment, tmp_path: Path) -> None:
    """An existing file stays as it is."""
    file = tmp_path / "precious"
    file.write_bytes(b"precious")
    assert headrace(origin, "registry", "export", "phishing", "1", str(file))[0] == 3
    assert file.read_bytes() == b"precious"


def test_prune_keeps_the_newest_and_every_version(tmp_path: Path) -> None:
    """Of many checkpoints ten remain and the order of learning is whole; versions can still be opened."""
    deployment = Deployment(
        tmp_path / "many", {**PHISHING, "checkpoint": {"every": "1h", "events": 100, "max_share": 1}}
    )
    events = phishing_events(40_000)
    deployment.publish(events)
    deployment.command("learn", "--until-end")
    with deployment.app() as app_:
        lineage = app_.registry.models.get("phishing").champion
        assert lineage is not None
        before = deployment.state()
        many = len(app_.registry.checkpoints.newest_first(lineage))
        assert many > 12
    code, printed = headrace(deployment, "registry", "prune")
    assert code == 0, printed
    with deployment.app() as app_:
        left = app_.registry.checkpoints.newest_first(lineage)
        assert 10 <= len(left) < many
        segments = app_.registry.checkpoints.journal(lineage)
        runs = [run for segment in segments for run in segment.order]
        assert runs[0].first == 0
        assert all(one.last == two.first for one, two in pairwise(runs))
        assert runs[-1].last == len(events)
        assert sum(segment.scored for segment in segments) == len(events)
    after = deployment.state()
    assert (after.probes, after.counts) == (before.probes, before.counts)
    assert headrace(deployment, "registry", "verify")[0] == 0
