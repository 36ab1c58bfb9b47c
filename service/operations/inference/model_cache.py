"""Follows the champions: opens their newest checkpoints, and keeps the last good one where that cannot be done."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import structlog

from service.domain.registry.champion_state import Standing
from service.domain.registry.registry import CheckpointId, LineageId, Version
from service.domain.specification.model import ModelSpec
from service.domain.stream.position import Position
from service.errors import HeadraceError, UnavailableError
from service.learning.inference.predictor import Answerer
from service.operations.services import Services
from service.operations.states.sealed_state import open_state
from service.ports.serving import Standings, Watch
from service.ports.telemetry import ServingTelemetry

_log = structlog.get_logger(__name__)

STRETCH = 100
"""A lineage is opened anew no sooner than this many times the processor time of its last unpickling: under 1%."""
STRANGERS = 100_000
LOOK_S = 0.5
MOST_KEPT, MOST_ORIGINS = 8, 64


@dataclass(frozen=True, slots=True)
class Served:
    """A state that answers; `checkpoint` is None for a version that was asked for."""

    model: str
    lineage: LineageId
    version: int
    checkpoint: CheckpointId | None
    position: Position
    answerer: Answerer


@dataclass(frozen=True, slots=True)
class Origin:
    """What never changes of a version: its row, its specification, and the classes that its states may name."""

    version: Version
    spec: ModelSpec
    allowed: frozenset[tuple[str, str]]


@dataclass
class _Following:
    """What the thread knows of a model."""

    standing: Standing
    due: float
    trouble: str | None = None
    cost_s: float = float("inf")


@dataclass
class Follower:
    """A thread that looks, opens and swaps; requests read `champions`, which is replaced whole."""

    services: Services
    standings: Standings
    models: Sequence[str]
    telemetry: ServingTelemetry
    stop: threading.Event
    champions: Mapping[str, Served] = field(default_factory=dict)
    _following: dict[str, _Following] = field(default_factory=dict)
    _kept: "OrderedDict[tuple[str, int], Served]" = field(default_factory=OrderedDict)
    _opening: threading.Lock = field(default_factory=threading.Lock)
    _outage: str | None = None
    _changed: bool = False
    _waiting: "list[Standing]" = field(default_factory=list)
    _origins: "OrderedDict[tuple[str, int], Origin]" = field(default_factory=OrderedDict)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The thread lives as long as the block."""
        thread = threading.Thread(target=self.run, name="follower", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.stop.set()
            thread.join()

    def run(self) -> None:
        """Until stopped; what goes wrong is told, and tried again."""
        with closing(self.standings.watch()) as watch:
            while not self.stop.is_set():
                try:
                    self._look(watch)
                except UnavailableError as error:
                    self._away(error)
                except Exception:  # noqa: BLE001 - what serves goes on serving, and the reason is logged
                    _log.exception("follower_failed")
                    self.stop.wait(LOOK_S)

    def _look(self, watch: Watch) -> None:
        """Once; what could not be looked at is looked at the next time."""
        self._changed = watch.wait(timeout_s=self._patience_s()) or self._changed
        if self._changed:
            self._waiting = [one for one in self.standings.newest() if one.model in self.models]
            self._changed = False
            self._forget()
        self._outage = None
        self._follow()

    def not_ready(self) -> Sequence[str]:
        """Why nothing can be predicted, a model a sentence; empty where all can be."""
        return [self._missing(name) for name in self.models if name not in self.champions]

    def degraded(self) -> Sequence[str]:
        """What is wrong although predictions are made."""
        found = [f"{name}: {one.trouble}" for name, one in list(self._following.items()) if one.trouble]
        return [*found, self._outage] if self._outage else found

    def kept(self, model: str, number: int) -> Served:
        """A version as it was when it was made; NotFoundError, ArtifactError. Blocks."""
        with self._opening:
            found = self._kept.pop((model, number), None) or self._version(model, number)
            self._kept[model, number] = found
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return found

    def _version(self, model: str, number: int) -> Served:
        origin = self._origin(model, number)
        version = origin.version
        answerer = Answerer(origin.spec, open_state(self.services, version.digest, model=model), allowed=origin.allowed)
        return Served(model, version.lineage, number, None, version.position, answerer)

    def _origin(self, model: str, number: int) -> Origin:
        """Read once; of the last ones asked for."""
        found = self._origins.get((model, number))
        if found is None:
            version = self.services.history.version(model, number)
            spec = ModelSpec.model_validate(version.spec)
            found = self._origins[model, number] = Origin(version, spec, self.services.build(spec)[1])
            while len(self._origins) > MOST_ORIGINS:
                self._origins.popitem(last=False)
        return found

    def _forget(self) -> None:
        """What is known of models that are gone, or have begun anew."""
        born = {one.model: one.born for one in self._waiting}
        gone = {
            name for name, known in self._following.items() if born.get(known.standing.model) != known.standing.born
        }
        if not gone:
            return
        self.champions = {name: served for name, served in self.champions.items() if name not in gone}
        with self._opening:
            for key in [key for key in (*self._kept, *self._origins) if key[0] in gone]:
                self._kept.pop(key, None)
                self._origins.pop(key, None)
        for name in gone:
            del self._following[name]

    def _follow(self) -> None:
        for standing in self._waiting:
            known = self._following.get(standing.model)
            if known is None or self._wants(standing, known):
                self._swap(standing)

    def _wants(self, standing: Standing, known: _Following) -> bool:
        if standing.lineage != known.standing.lineage:
            return True
        served = self.champions.get(standing.model)
        worn = known.trouble is not None or served is None or served.answerer.strangers > STRANGERS
        return (worn or standing.digest != known.standing.digest) and time.monotonic() >= known.due

    def _swap(self, standing: Standing) -> None:
        try:
            origin = self._origin(standing.model, standing.version)
            payload = open_state(self.services, standing.digest, model=standing.model)
            began = time.thread_time()
            answerer = Answerer(origin.spec, payload, allowed=origin.allowed)
        except UnavailableError:
            raise
        except HeadraceError as error:
            self._put_off(standing, error)
            return
        took = time.thread_time() - began
        place = (standing.lineage, standing.version, standing.checkpoint, standing.position)
        self.champions = {**self.champions, standing.model: Served(standing.model, *place, answerer)}
        before = self._following.get(standing.model)
        self._following[standing.model] = self._opened_for(took, standing)
        self.telemetry.opened(standing.model, standing.version, took)
        self._tell_freshness(standing, before)

    def _tell_freshness(self, standing: Standing, before: _Following | None) -> None:
        """From now on a prediction can include what the lineage has learned since the state before."""
        if before is None or before.standing.lineage != standing.lineage:
            return
        now_ms = time.time() * 1000
        appended_ms = self.standings.appended_ms(standing, after=before.standing.sequence)
        if appended_ms is not None:
            self.telemetry.fresh(standing.model, max(now_ms - appended_ms, 0.0) / 1000)

    def _opened_for(self, cost_s: float, standing: Standing) -> _Following:
        """The cheaper of two openings counts: Python may have cleaned up in the midst of one."""
        known = self._following.get(standing.model)
        least_s = min(cost_s, known.cost_s) if known else cost_s
        return _Following(standing, time.monotonic() + STRETCH * least_s, cost_s=cost_s)

    def _put_off(self, standing: Standing, error: HeadraceError) -> None:
        """The last good one stays; one that was thinned away meanwhile has a successor already."""
        trouble = f"checkpoint {standing.checkpoint} cannot be read, the one before it serves: {error}"
        known = self._following.get(standing.model)
        if known is None or known.trouble != trouble:
            _log.warning("state_unreadable", model=standing.model, checkpoint=standing.checkpoint, error=str(error))
            self.telemetry.unreadable(standing.model)
        self._following[standing.model] = _Following(standing, time.monotonic() + 2 * LOOK_S, trouble)

    def _patience_s(self) -> float:
        """Until the next opening that was put off."""
        due = [self._following[one.model].due for one in self._waiting if one.model in self._following]
        waits = [max(at - time.monotonic(), 0.01) for at in due if at > time.monotonic()]
        return min([LOOK_S, *waits])

    def _away(self, error: UnavailableError) -> None:
        if self._outage is None:
            _log.info("registry_unavailable", error=str(error))
        self._outage = str(error)
        self.telemetry.failure("database")
        self.stop.wait(LOOK_S)

    def _missing(self, model: str) -> str:
        known = self._following.get(model)
        if known is not None and known.trouble:
            return f"{model}: {known.trouble}"
        if self._outage:
            return f"{model}: {self._outage}"
        return f"{model}: found no state of it yet; `headrace run` or `headrace learn {model}` makes one"
