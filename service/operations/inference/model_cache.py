"""The cache of served models: it follows the champions' checkpoints and keeps the last one that could be opened."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import structlog

from service.domain.registry.champion_state import ChampionState
from service.domain.registry.registry import CheckpointId, LineageId, Version
from service.domain.specification.model import ModelSpec
from service.domain.stream.position import Position
from service.errors import HeadraceError, UnavailableError
from service.learning.inference.predictor import Predictor
from service.operations.services import Services
from service.operations.states.sealed_state import open_state
from service.ports.serving import ChampionFeed, RegistryWatcher
from service.ports.telemetry import ServingTelemetry

_log = structlog.get_logger(__name__)

REOPEN_COST_FACTOR = 100
"""A lineage is reopened after this many times the CPU time of its last unpickling at the earliest, to use under 1 %."""
MAX_UNSEEN_FEATURES = 100_000
POLL_S = 0.5
MAX_CACHED_VERSIONS, MAX_CACHED_DETAILS = 8, 64


@dataclass(frozen=True, slots=True)
class ServedModel:
    """An opened state; `checkpoint` is None for a version that was requested by number."""

    model: str
    lineage: LineageId
    version: int
    checkpoint: CheckpointId | None
    position: Position
    predictor: Predictor


@dataclass(frozen=True, slots=True)
class VersionDetails:
    """The immutable part of a version: its row, its specification, and the classes that its states may name."""

    version: Version
    spec: ModelSpec
    allowed: frozenset[tuple[str, str]]


@dataclass
class _CacheEntry:
    """What the thread knows about a model: the state it opened last, the problem, and when it may open the next."""

    champion_state: ChampionState
    due_at_s: float
    problem: str | None = None
    open_cost_s: float = float("inf")


@dataclass
class ModelCache:
    """A thread that follows the registry, opens states and swaps them.

    Requests read `champions`, which is never changed but replaced as a whole, so that they need no lock.
    """

    services: Services
    champion_feed: ChampionFeed
    models: Sequence[str]
    telemetry: ServingTelemetry
    stop: threading.Event
    champions: Mapping[str, ServedModel] = field(default_factory=dict)
    _entries: dict[str, _CacheEntry] = field(default_factory=dict)
    _cached_versions: "OrderedDict[tuple[str, int], ServedModel]" = field(default_factory=OrderedDict)
    _cache_lock: threading.Lock = field(default_factory=threading.Lock)
    _outage: str | None = None
    _changed: bool = False
    _newest_states: "list[ChampionState]" = field(default_factory=list)
    _cached_details: "OrderedDict[tuple[str, int], VersionDetails]" = field(default_factory=OrderedDict)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the thread for the duration of the block."""
        thread = threading.Thread(target=self.run, name="follower", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.stop.set()
            thread.join()

    def run(self) -> None:
        """Follow the registry until stopped; errors are logged, and the next poll tries again."""
        with closing(self.champion_feed.watch()) as watch:
            while not self.stop.is_set():
                try:
                    self._poll(watch)
                except UnavailableError as error:
                    self._record_outage(error)
                except Exception:  # noqa: BLE001 - what serves goes on serving, and the reason is logged
                    _log.exception("model_cache_failed")
                    self.stop.wait(POLL_S)

    def _poll(self, watch: RegistryWatcher) -> None:
        """Poll once; a change whose handling fails is handled by the next poll."""
        self._changed = watch.wait(timeout_s=self._wait_s()) or self._changed
        if self._changed:
            self._newest_states = [one for one in self.champion_feed.newest() if one.model in self.models]
            self._changed = False
            self._evict_deleted()
        self._outage = None
        self._refresh()

    def not_ready(self) -> Sequence[str]:
        """Return one sentence for each model that cannot be served, with the reason; empty where all can be."""
        return [self._not_ready_reason(name) for name in self.models if name not in self.champions]

    def degraded(self) -> Sequence[str]:
        """Return what is wrong although every model may be served: unreadable checkpoints, an unreachable registry."""
        # A copy, since the thread changes the entries.
        found = [f"{name}: {one.problem}" for name, one in list(self._entries.items()) if one.problem]
        return [*found, self._outage] if self._outage else found

    def open_version(self, model: str, number: int) -> ServedModel:
        """Open a version as it was created, or return the cached one; blocks.

        Raise NotFoundError for an unknown version, and ArtifactError for an artifact that cannot be verified or opened.
        """
        with self._cache_lock:
            served_model = self._cached_versions.pop((model, number), None) or self._load_version(model, number)
            self._cached_versions[model, number] = served_model
            while len(self._cached_versions) > MAX_CACHED_VERSIONS:
                self._cached_versions.popitem(last=False)
        return served_model

    def _load_version(self, model: str, number: int) -> ServedModel:
        details = self._version_details(model, number)
        version = details.version
        predictor = Predictor(
            details.spec, open_state(self.services, version.digest, model=model), allowed=details.allowed
        )
        return ServedModel(model, version.lineage, number, None, version.position, predictor)

    def _version_details(self, model: str, number: int) -> VersionDetails:
        """Return the details from a small cache of the newest ones."""
        details = self._cached_details.get((model, number))
        if details is None:
            version = self.services.registry.history.version(model, number)
            spec = ModelSpec.model_validate(version.spec)
            details = self._cached_details[model, number] = VersionDetails(
                version, spec, self.services.states.build_estimator(spec)[1]
            )
            while len(self._cached_details) > MAX_CACHED_DETAILS:
                self._cached_details.popitem(last=False)
        return details

    def _evict_deleted(self) -> None:
        """Forget models that were deleted, or deleted and registered again."""
        registered_at = {one.model: one.registered_at for one in self._newest_states}
        gone = {
            name
            for name, known in self._entries.items()
            if registered_at.get(known.champion_state.model) != known.champion_state.registered_at
        }
        if not gone:
            return
        self.champions = {name: served for name, served in self.champions.items() if name not in gone}
        with self._cache_lock:
            for key in [key for key in (*self._cached_versions, *self._cached_details) if key[0] in gone]:
                self._cached_versions.pop(key, None)
                self._cached_details.pop(key, None)
        for name in gone:
            del self._entries[name]

    def _refresh(self) -> None:
        for state in self._newest_states:
            entry = self._entries.get(state.model)
            if entry is None or self._needs_opening(state, entry):
                self._open_champion(state)

    def _needs_opening(self, state: ChampionState, entry: _CacheEntry) -> bool:
        if state.lineage != entry.champion_state.lineage:
            return True
        served_model = self.champions.get(state.model)
        needs_reload = (
            entry.problem is not None
            or served_model is None
            or served_model.predictor.unseen_count > MAX_UNSEEN_FEATURES
        )
        return (needs_reload or state.digest != entry.champion_state.digest) and time.monotonic() >= entry.due_at_s

    def _open_champion(self, state: ChampionState) -> None:
        try:
            details = self._version_details(state.model, state.version)
            payload = open_state(self.services, state.digest, model=state.model)
            # CPU time: waiting for the interpreter lock or the disk has delayed no request.
            started_s = time.thread_time()
            predictor = Predictor(details.spec, payload, allowed=details.allowed)
        except UnavailableError:
            raise
        except HeadraceError as error:
            self._postpone(state, error)
            return
        cost_s = time.thread_time() - started_s
        identity = (state.lineage, state.version, state.checkpoint, state.position)
        self.champions = {**self.champions, state.model: ServedModel(state.model, *identity, predictor)}
        previous = self._entries.get(state.model)
        self._entries[state.model] = self._new_entry(cost_s, state)
        self.telemetry.state_opened(state.model, state.version, cost_s)
        self._report_freshness(state, previous)

    def _report_freshness(self, state: ChampionState, previous: _CacheEntry | None) -> None:
        """Report how many seconds ago the oldest event was appended that was learned since the previous state."""
        if previous is None or previous.champion_state.lineage != state.lineage:
            return
        now_ms = time.time() * 1000
        appended_ms = self.champion_feed.oldest_append_ms(state, after=previous.champion_state.sequence)
        if appended_ms is not None:
            self.telemetry.freshness_measured(state.model, max(now_ms - appended_ms, 0.0) / 1000)

    def _new_entry(self, cost_s: float, state: ChampionState) -> _CacheEntry:
        previous = self._entries.get(state.model)
        # The lower of two costs counts, because garbage collection may have run during one opening.
        least_s = min(cost_s, previous.open_cost_s) if previous else cost_s
        return _CacheEntry(state, time.monotonic() + REOPEN_COST_FACTOR * least_s, open_cost_s=cost_s)

    def _postpone(self, state: ChampionState, error: HeadraceError) -> None:
        """Keep serving the last good state, and retry later."""
        # Retention may have deleted the checkpoint meanwhile; then a newer one follows.
        problem = f"checkpoint {state.checkpoint} cannot be read, the one before it serves: {error}"
        previous = self._entries.get(state.model)
        if previous is None or previous.problem != problem:
            _log.warning("state_unreadable", model=state.model, checkpoint=state.checkpoint, error=str(error))
            self.telemetry.state_unreadable(state.model)
        self._entries[state.model] = _CacheEntry(state, time.monotonic() + 2 * POLL_S, problem)

    def _wait_s(self) -> float:
        """Return the seconds until the next poll or postponed opening."""
        due = [self._entries[one.model].due_at_s for one in self._newest_states if one.model in self._entries]
        delays_s = [max(at - time.monotonic(), 0.01) for at in due if at > time.monotonic()]
        return min([POLL_S, *delays_s])

    def _record_outage(self, error: UnavailableError) -> None:
        if self._outage is None:
            _log.info("registry_unavailable", error=str(error))
        self._outage = str(error)
        self.telemetry.service_unreachable("database")
        self.stop.wait(POLL_S)

    def _not_ready_reason(self, model: str) -> str:
        entry = self._entries.get(model)
        if entry is not None and entry.problem:
            return f"{model}: {entry.problem}"
        if self._outage:
            return f"{model}: {self._outage}"
        return f"{model}: found no state of it yet; `headrace run` or `headrace learn {model}` makes one"
