"""A replay that must not take over, or never begins, leaves the model as it was."""

import json
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.bootstrap import App
from service.domain.registry.registry import ChangeOrigin, CommandKind, Lineage
from service.errors import RefusedError
from service.operations.replay.plan import RollbackOptions, plan_rollback, register_replay
from service.operations.replay.run import OffsetProgress, run_replay
from tests.acceptance.harness import PHISHING, Deployment, phishing_events
from tests.acceptance.test_replay import audit, is_that, never_seen

OVERTAKEN = "excluded after this replay of phishing had learned it"
OFTEN = {**PHISHING, "checkpoint": {"every": "1h", "events": 1000, "max_share": 1}}
NOON = int(datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp() * 1000)
by_offset_or_time = pytest.mark.parametrize("stretch", ["800..900", "2026-01-31T12:00:00.8Z..2026-01-31T12:00:00.9Z"])


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    """A model that has learned a record a millisecond."""
    made = Deployment(tmp_path / "model", OFTEN)
    with made.app() as app:
        sink = app.sink()
        sink.create("phishing.events", partitions=1)
        events = phishing_events(3000)
        sink.append("phishing.events", events, timestamps=[NOON + offset for offset in range(len(events))])
        sink.close()
    made.command("learn", "--until-end")
    return made


def begun(app: App) -> Lineage:
    """A replay without 100..200, for which the model stands still."""
    app.run_command("phishing", CommandKind.FREEZE, {"reason": "a rollback replays"}, actor="test")
    wish = RollbackOptions(app.parse_exclusions("phishing", ["100..200"]), freeze=True)
    return register_replay(app.services, plan_rollback(app.services, "phishing", wish), origin=ChangeOrigin("test"))


def frozen(deployment: Deployment) -> bool:
    """Whether the model stands still."""
    return bool(json.loads(deployment.command("model", "show", "phishing", "--json").stdout)["frozen"])


def is_given_up(deployment: Deployment, calm: Path) -> bool:
    """Whether the model learns as before, and the next rollback is right."""
    assert not frozen(deployment)
    assert [entry["action"] for entry in audit(deployment)][-2:] == ["cancel_replay", "unfreeze"]
    deployment.command("model", "rollback", "phishing", "--mode", "replay")
    return is_that(deployment, never_seen(calm, phishing_events(3000), (100, 200), (800, 900), model=OFTEN))


@by_offset_or_time
def test_an_exclusion_in_the_middle(deployment: Deployment, tmp_path: Path, stretch: str) -> None:
    """A replay that was interrupted, and has learned what is excluded since, does not go on."""
    with deployment.app() as app:
        begun(app)
        dies = deployment.start("replay", environment={"HEADRACE_FAILPOINT": "committed:1"})
        assert dies.wait(timeout=300) == -signal.SIGKILL
        deployment.command("exclusion", "add", "phishing", stretch)
        assert "learned it" in deployment.command("replay", "--until-done").stderr + deployment.log()
        assert app.registry.replays.unfinished() == []
    assert is_given_up(deployment, tmp_path / "calm")


@by_offset_or_time
def test_an_exclusion_in_the_last_moment(deployment: Deployment, tmp_path: Path, stretch: str) -> None:
    """When all is learned and nothing but the take-over is left, it is refused."""
    with deployment.app() as app:
        lineage = begun(app)

        def tell(progress: OffsetProgress) -> None:
            if progress.done == progress.total:
                deployment.command("exclusion", "add", "phishing", stretch)

        with pytest.raises(RefusedError, match=OVERTAKEN):
            run_replay(app.services, lineage, stop=threading.Event(), on_progress=tell)
    assert is_given_up(deployment, tmp_path / "calm")


def test_an_exclusion_of_what_it_passes_over(deployment: Deployment) -> None:
    """What is excluded meanwhile and was never learned by the replay is no reason to give it up."""
    with deployment.app() as app:
        lineage = begun(app)

        def tell(progress: OffsetProgress) -> None:
            if progress.done == progress.total:
                deployment.command("exclusion", "add", "phishing", "2026-01-31T12:00:00.1Z..2026-01-31T12:00:00.2Z")

        assert "replays from" in str(run_replay(app.services, lineage, stop=threading.Event(), on_progress=tell))
    assert not frozen(deployment)


def test_a_rollback_that_cannot_begin(deployment: Deployment) -> None:
    """The model does not stand still for it."""
    ask = ("model", "rollback", "phishing", "--exclude", "9000..9100", "--freeze")
    assert deployment.command(*ask, check=False).returncode == 3
    assert not frozen(deployment)


def test_a_model_that_its_user_has_frozen(deployment: Deployment, tmp_path: Path) -> None:
    """It is rolled back and stays frozen, and is told so."""
    deployment.command("model", "freeze", "phishing", "--reason", "until Monday")
    said = deployment.command("model", "rollback", "phishing", "--exclude", "2000..2500", "--freeze").stdout
    assert "frozen already, and stays so" in said
    assert frozen(deployment)
    assert is_that(deployment, never_seen(tmp_path / "calm", phishing_events(3000), (2000, 2500), model=OFTEN))
