"""What a server predicts with: the newest state that can be opened, of models that are still there."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from service.domain.registry.registry import CommandKind, VersionNumber
from service.errors import NotFoundError, TamperedError
from service.metrics.null import NullTelemetry
from service.operations.inference import model_cache
from service.operations.inference.model_cache import MAX_CACHED_VERSIONS, ModelCache, ServedModel
from service.operations.services import Services
from service.operations.states.registration import reset_model
from service.testing.services import with_parts
from tests.acceptance.harness import wait_until
from tests.learned_model import LearnedModel, Unreachable, Unreadable


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits half a second for the next look."""
    monkeypatch.setattr(model_cache, "POLL_S", 0.02)


class ServingTelemetry(NullTelemetry):
    """Keeps what a server measures of its states."""

    def __init__(self) -> None:
        self.opened: list[int] = []
        self.freshness_s: list[float] = []
        self.unreadable = 0

    def state_opened(self, model: str, version: int, seconds: float) -> None:
        """Keep the version."""
        del model, seconds
        self.opened.append(version)

    def freshness_measured(self, model: str, seconds: float) -> None:
        """Keep how old what is served now was when it became so."""
        del model
        self.freshness_s.append(seconds)

    def state_unreadable(self, model: str) -> None:
        """Count it."""
        del model
        self.unreadable += 1

    def predictions_served(self, model: str, count: int, seconds: float) -> None:
        """Nothing is predicted here."""

    def request_completed(self, route: str, status: int) -> None:
        """Nothing is asked here."""


def new_cache(model: LearnedModel, *, services: Services | None = None, feed: Any = None) -> ModelCache:
    """Return a cache of the deployment's model, which nobody runs yet."""
    feed = feed or model.app.registry.champion_feed
    return ModelCache(services or model.services, feed, [model.name], ServingTelemetry(), threading.Event())


@contextmanager
def following(cache: ModelCache) -> Iterator[ModelCache]:
    """Run it until the block ends."""
    with cache.running():
        yield cache


def served(cache: ModelCache, model: LearnedModel) -> ServedModel | None:
    """Return what serves the model now."""
    return cache.champions.get(model.name)


def await_learned(cache: ModelCache, model: LearnedModel, count: int) -> ServedModel:
    """Wait until a state of so many events serves."""

    def reached() -> bool:
        found = served(cache, model)
        return found is not None and sum(found.position.offsets.values()) == count

    wait_until(reached, timeout_s=30, every_s=0.005)
    found = served(cache, model)
    assert found is not None
    return found


def test_before_it_has_looked(model: LearnedModel) -> None:
    """A server that has opened nothing yet says which command makes a state."""
    cache = new_cache(model)
    assert cache.not_ready() == [
        f"{model.name}: found no state of it yet; `headrace run` or `headrace learn {model.name}` makes one"
    ]


def test_each_commit_is_followed(model: LearnedModel) -> None:
    """The newest checkpoint serves soon after its commit, and how fresh it is gets measured."""
    with following(new_cache(model)) as cache:
        first = await_learned(cache, model, 0)
        assert (cache.not_ready(), cache.degraded()) == ([], [])
        model.learn(10)
        second = await_learned(cache, model, 10)
    assert (first.lineage, first.version) == (second.lineage, second.version)
    assert second.checkpoint != first.checkpoint
    assert isinstance(cache.telemetry, ServingTelemetry)
    assert cache.telemetry.opened == [1, 1]
    wait_until(lambda: len(cache.telemetry.freshness_s) == 1, timeout_s=30)


def test_a_rollback_serves_at_once(model: LearnedModel) -> None:
    """A new champion is opened though the state before it was opened a moment ago."""
    model.learn(10)
    with following(new_cache(model)) as cache:
        await_learned(cache, model, 10)
        model.run(CommandKind.ROLLBACK, to="1")
        wait_until(lambda: cache.champions[model.name].version == 2, timeout_s=30, every_s=0.005)
        assert cache.champions[model.name].lineage == model.champion.id


def test_an_unreadable_state_leaves_the_one_before(model: LearnedModel) -> None:
    """A checkpoint that cannot be opened is told as a degradation, and the last good one serves on."""
    errors: dict[str, Exception] = {}
    services = with_parts(model.services, history=Unreadable(model.services.registry.history, errors))
    feed = Unreachable(model.app.registry.champion_feed, "newest", times=0)
    with following(new_cache(model, services=services, feed=feed)) as cache:
        first = await_learned(cache, model, 0)
        feed.left = 10**6
        model.learn(10)
        newest = model.services.registry.checkpoints.newest(model.champion.id)
        assert newest is not None
        errors[newest.digest] = TamperedError("changed on disk")
        feed.left = 0
        problem = f"{model.name}: checkpoint {newest.id} cannot be read, the one before it serves: changed on disk"
        wait_until(lambda: list(cache.degraded()) == [problem], timeout_s=30, every_s=0.005)
        assert served(cache, model) == first
        assert cache.not_ready() == []
        errors.clear()
        await_learned(cache, model, 10)
        assert cache.degraded() == []
    assert isinstance(cache.telemetry, ServingTelemetry)
    assert cache.telemetry.unreadable == 1


def test_nothing_can_be_opened(model: LearnedModel) -> None:
    """A model without any state that opens is not ready, and the reason is the state's."""
    (version,) = model.services.registry.history.versions(model.name)
    history = Unreadable(model.services.registry.history, {version.digest: TamperedError("changed on disk")})
    with following(new_cache(model, services=with_parts(model.services, history=history))) as cache:
        wait_until(lambda: "changed on disk" in cache.not_ready()[0], timeout_s=30, every_s=0.005)
    assert cache.champions == {}


def test_a_deleted_model_is_forgotten(model: LearnedModel) -> None:
    """Nothing of a model that was deleted is served, neither its champion nor a version that was asked for."""
    with following(new_cache(model)) as cache:
        await_learned(cache, model, 0)
        cache.open_version(model.name, 1)
        model.services.registry.models.delete(model.name, actor="ann", reason="over")
        wait_until(lambda: cache.champions == {}, timeout_s=30, every_s=0.005)
        with pytest.raises(NotFoundError):
            cache.open_version(model.name, 1)


def test_a_model_begun_anew_is_another(model: LearnedModel) -> None:
    """A model that was deleted and registered again has the name of the old one, and none of its states."""
    model.learn(10)
    with following(new_cache(model)) as cache:
        old = await_learned(cache, model, 10)
        old_version = cache.open_version(model.name, 1)
        reset_model(model.services, model.spec, actor="ann")
        new = await_learned(cache, model, 0)
        wait_until(lambda: cache.open_version(model.name, 1) is not old_version, timeout_s=30, every_s=0.005)
    assert new.predictor is not old.predictor
    assert cache.degraded() == []


def test_an_outage_takes_nothing_away(model: LearnedModel) -> None:
    """While the registry is away the last states serve, and the outage is told; after it commits are followed again."""
    feed = Unreachable(model.app.registry.champion_feed, "newest", times=0)
    with following(new_cache(model, feed=feed)) as cache:
        await_learned(cache, model, 0)
        feed.left = 10**6
        model.learn(10)
        wait_until(lambda: list(cache.degraded()) == ["connection refused"], timeout_s=30, every_s=0.005)
        assert served(cache, model) is not None
        feed.left = 0
        await_learned(cache, model, 10)
        wait_until(lambda: cache.degraded() == [], timeout_s=30, every_s=0.005)


class TestVersions:
    """Versions that are asked for by number."""

    def test_as_they_were_made(self, model: LearnedModel) -> None:
        """A version predicts as it did when it was made, and is opened once."""
        model.learn(10)
        model.run(CommandKind.SNAPSHOT)
        model.learn(10)
        cache = new_cache(model)
        found = cache.open_version(model.name, 2)
        assert (found.version, found.checkpoint, sum(found.position.offsets.values())) == (2, None, 10)
        assert cache.open_version(model.name, 2) is found

    def test_only_the_last_few_are_kept(self, model: LearnedModel) -> None:
        """What was asked for longest ago is forgotten first, and opened again when it is asked for."""
        for _ in range(MAX_CACHED_VERSIONS):
            model.run(CommandKind.SNAPSHOT)
        cache = new_cache(model)
        first, second = (cache.open_version(model.name, number) for number in (1, 2))
        for number in range(3, MAX_CACHED_VERSIONS + 1):
            cache.open_version(model.name, number)
        assert cache.open_version(model.name, 1) is first
        cache.open_version(model.name, MAX_CACHED_VERSIONS + 1)
        assert cache.open_version(model.name, 1) is first
        assert cache.open_version(model.name, 2) is not second

    def test_one_that_is_not_there(self, model: LearnedModel) -> None:
        """An unknown version is not found."""
        with pytest.raises(NotFoundError):
            new_cache(model).open_version(model.name, VersionNumber(7))
