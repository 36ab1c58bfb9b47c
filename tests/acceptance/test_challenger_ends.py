"""A challenger that is of no use is dropped with its reason, and its champion never notices."""

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import update

from service.domain.registry.challenger import Challenger, ChallengerStage
from service.domain.registry.registry import LineageRole
from service.storage.schema.registry import checkpoints
from service.storage.transactions import writes
from tests.acceptance import moody
from tests.acceptance.harness import PHISHING, Deployment, phishing_events, terminate, wait_until

MOODY: dict[str, Any] = {
    **{key: value for key, value in PHISHING.items() if key != "estimator"},
    "factory": "moody:make",
}

pytestmark = pytest.mark.slow


class Stand:
    """A champion that learns, and a challenger in a mood."""

    def __init__(self, folder: Path, *, events: int, trainer: Mapping[str, Any]) -> None:
        self.found = Deployment(folder, trainer=trainer)
        shutil.copy(Path(moody.__file__), folder / "moody.py")
        self.published = 0
        self.publish(events)
        self.learner = self.found.start("learn")
        wait_until(lambda: self.found.learned() == events)

    def publish(self, count: int) -> None:
        """More events of ids that were not there yet."""
        self.found.publish(phishing_events(count, first=self.published))
        self.published += count

    def challenge(self, mood: str) -> "subprocess.Popen[bytes]":
        """One in this mood begins, and its trainer."""
        self.found.model = MOODY
        self.found.configure()
        assert "challenges with new estimator" in self.found.command("model", "apply", "phishing").stdout
        (self.found.folder / "mood").write_text(mood, encoding="utf-8")
        return self.found.start("train")

    @property
    def challenger(self) -> Challenger:
        """Open or not."""
        (found,) = self.found._watched().registry.challengers.list("phishing", finished=True)
        return found

    def dropped(self) -> bool:
        """Whether it has come to that."""
        return self.challenger.stage is ChallengerStage.DROPPED

    def require_unharmed(self) -> None:
        """Every event has changed the champion once, which has run all the time; nobody else's refusals are its own."""
        self.publish(500)
        wait_until(lambda: self.found.learned() == self.published)
        assert terminate(self.learner) == 0
        state = self.found.state()
        assert state.counts == {"learned": self.published}
        assert sum(run.last - run.first for run in state.order) == self.published
        with self.found.app() as app:
            registry = app.registry
            assert [one.role for one in registry.history.lineages("phishing")] == [
                LineageRole.CHAMPION,
                LineageRole.RETIRED,
            ]
            assert registry.models.get("phishing").frozen is False
            assert registry.dead_letters.counts("phishing") == {}
            assert [one.action for one in registry.history.audit("phishing")] == ["register", "apply", "drop"]
            assert registry.history.audit("phishing")[-1].reason == self.challenger.reason
        past = json.loads(self.found.command("model", "history", "phishing", "--json").stdout)
        assert past["audit"][-1]["reason"] == self.challenger.reason


@pytest.fixture
def stand(tmp_path: Path) -> Callable[..., Stand]:
    """Makes a champion that has learned some events."""
    return lambda events=3000, **trainer: Stand(tmp_path / "one", events=events, trainer=trainer)


def test_one_whose_estimator_throws(stand: Callable[..., Stand]) -> None:
    """Once a thousand events are seen, and not only at the end of the comparison, which it would never come to."""
    one = stand()
    trainer = one.challenge("throw")
    wait_until(one.dropped)
    assert one.challenger.reason == (
        "found 100% of the last events refused by its estimator, expected at most max_refused_share 50%; "
        "at last: ArithmeticError: not this one"
    )
    one.require_unharmed()
    assert terminate(trainer) == 0


def test_one_that_cannot_be_built(stand: Callable[..., Stand]) -> None:
    """After three starts, with the error's own words."""
    one = stand()
    trainer = one.challenge("refuse")
    wait_until(one.dropped)
    assert one.challenger.failures == 3
    assert one.challenger.reason.startswith("found its process dead 3 times without a commit in between, at last: ")
    assert one.challenger.reason.endswith("ArithmeticError: not today")
    one.require_unharmed()
    assert terminate(trainer) == 0


@pytest.mark.parametrize("mood", ["slow", "hang"])
def test_one_that_is_too_slow(stand: Callable[..., Stand], mood: str) -> None:
    """It falls behind a stream that is faster than it, and is given no longer than was set."""
    one = stand(events=12_000, challenger_patience="3s")
    trainer = one.challenge(mood)

    def dropped_while_the_stream_goes_on() -> bool:
        one.publish(200)
        return one.dropped()

    wait_until(dropped_while_the_stream_goes_on, every_s=0.5)
    assert "offsets behind the champion, no nearer for 3 s" in one.challenger.reason
    one.require_unharmed()
    assert terminate(trainer) == 0


def test_one_that_is_too_large(stand: Callable[..., Stand]) -> None:
    """Its process is killed at the limit, and it is not tried again: it would be as large."""
    one = stand(challenger_memory="400MB")
    trainer = one.challenge("eat")
    wait_until(one.dropped)
    assert one.challenger.failures == 1
    assert "MB in use, expected at most 400 (trainer.challenger_memory)" in one.challenger.reason
    one.require_unharmed()
    assert terminate(trainer) == 0


def test_one_of_another_release(stand: Callable[..., Stand]) -> None:
    """It is tried again and never dropped, however often its state cannot be opened, and goes on where it can be."""
    one = stand()
    trainer = one.challenge("calm")
    lineage = one.challenger.lineage
    with one.found.app() as app:
        registry = app.registry
        wait_until(lambda: registry.checkpoints.newest_first(lineage)[0].sequence > 0)
        assert terminate(trainer) == 0
        newest = registry.checkpoints.newest_first(lineage)[0]
        later = msgspec.msgpack.encode({"format": 99})
        sealed = registry.signer.seal(later, model="phishing", lineage=str(lineage), position=newest.position)
        digest = registry.signer.digest(sealed)

        def point_at(named: str) -> None:
            with registry.database.write_transaction() as connection:
                writes.upsert_artifact(connection, digest, sealed, now=registry.database.now(connection))
                of_newest = checkpoints.c.id == newest.id
                connection.execute(update(checkpoints).where(of_newest).values(digest=named))

        point_at(digest)
        trainer = one.found.start("train")
        wait_until(lambda: one.found.log().count("state format 99") > 4)
        assert (one.challenger.failures, one.dropped()) == (0, False)
        assert registry.checkpoints.newest_first(lineage)[0].sequence == newest.sequence
        point_at(newest.digest)
        one.publish(500)
        wait_until(lambda: registry.checkpoints.newest_first(lineage)[0].sequence > newest.sequence)
    assert terminate(trainer) == 0
