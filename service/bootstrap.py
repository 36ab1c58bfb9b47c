"""The composition root: settings in, object graph out; the only place where adapters are built."""

import importlib
import importlib.metadata
import os
import platform
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from service.config import Settings
from service.domain.exclusion import Exclusion, offsets, times
from service.domain.metric_history import HistoryQuery, MetricHistory
from service.domain.position import Run
from service.domain.registry import CheckpointStep, CommandKind, Json, Model
from service.domain.specification import ModelSpec
from service.errors import ConfigurationError, NotFoundError
from service.learning import estimators
from service.operations import transfer
from service.operations.ask import ask
from service.operations.choose import chosen
from service.operations.diff import difference
from service.operations.exclude import excluded
from service.operations.excluded_offsets import as_offsets
from service.operations.host import Host, LearnOptions
from service.operations.metric_history import metric_history
from service.operations.prune import prune
from service.operations.services import Services
from service.operations.verify import Finding, verify
from service.ports import Decoder, Sink, Source, Telemetry
from service.storage.footprint import MappedFootprint
from service.storage.holder import Holder
from service.storage.registry import Registry, open_registry
from service.storage.signing import Signer, load_key
from service.stream import log
from service.stream.decoders import make_decoder
from service.stream.kafka_settings import KafkaSettings
from service.testing.archive import NoArchive
from service.testing.telemetry import NullTelemetry

DRIVERS = {
    "kafka-python": ("service.stream.kafka_python", "KafkaPython"),
    "librdkafka": ("service.stream.librdkafka", "Librdkafka"),
}


@dataclass(frozen=True, slots=True)
class App:
    """What a command of the CLI works with."""

    settings: Settings
    registry: Registry
    services: Services

    def source(self, group: str) -> Source:
        """A reader of the configured stream."""
        return self.services.source(group)

    def sink(self) -> Sink:
        """A writer to the configured stream."""
        return self.services.sink()

    def decoder(self, spec: ModelSpec) -> Decoder:
        """The decoder the model's specification asks for."""
        return self.services.decoder(spec)

    def spec(self, model: str) -> ModelSpec:
        """The file's specification; NotFoundError names those there are."""
        return spec_of(self.settings, model)

    def host(self, models: Sequence[str], options: LearnOptions, *, stop: threading.Event, nonce: str) -> Host:
        """A learner of these models, or of all; `run()` returns when it is done."""
        specs = [self.spec(model) for model in models] if models else list(self.settings.models)
        if not specs:
            msg = "found no models in the configuration, expected at least one under `models:`; see `headrace init`"
            raise ConfigurationError(msg)
        services = replace(self.services, holder=str(Holder.current(nonce=nonce)))
        return Host(services, specs, options, stop)

    def act(self, model: str, kind: CommandKind, arguments: Json, *, actor: str, wait_s: float = 30.0) -> str:
        """Have a command carried out; what became of it, or RefusedError."""
        return ask(self.services, model, kind=kind, arguments=arguments, actor=actor, wait_s=wait_s)

    def preview_rollback(self, model: str, to: str | None, at: str | None) -> dict[str, Any]:
        """What a rollback would do."""
        goal = chosen(self.services, model, to=to, at=at)
        return {"model": model, "mode": "restore", "to": goal.name, "version": goal.version.number}

    def excluded(self, model: str, stretches: Sequence[str]) -> list[Exclusion]:
        """FROM..TO as they are written; ConfigurationError."""
        return excluded(self.services, model, stretches)

    def export(self, model: str, number: int) -> bytes:
        """A version as the bytes of a file."""
        return transfer.pack(self.services, model, number)

    def import_(
        self, data: bytes, *, name: str | None, key_file: Path | None, keep_position: bool, actor: str
    ) -> ModelSpec:
        """The specification of the new model that the file's version has founded."""
        parcel = transfer.unpack(data)
        opener = Signer(load_key(key_file)) if key_file else self.services.sealer
        return transfer.adopt(
            self.services, parcel, name=name or parcel.model, opener=opener, keep_position=keep_position, actor=actor
        )[1]

    def verify(self) -> Sequence[Finding]:
        """What is wrong with any artifact, and what is good."""
        return verify(self.services)

    def prune(self) -> dict[str, str]:
        """Apply retention now; what became of each model."""
        return {model.name: prune(self.services, model) for model in self.registry.models.list()}

    def metric_history(self, model: str, query: HistoryQuery) -> MetricHistory:
        """What the model's metrics were, with what happened to it."""
        registry, found = self.registry, self.registry.models.get(model)
        return metric_history(
            registry.history, registry.checkpoints, model=found, query=query, excluded=self._excluded(found)
        )

    def _excluded(self, model: Model) -> Sequence[Run]:
        stretches = [one.stretch for one in self.registry.exclusions.list(model.name)]
        if not times(stretches):
            return offsets(stretches)
        spec, source = ModelSpec.model_validate(model.spec), self.source(f"{model.name}-history")
        try:
            topics = sorted({spec.events, spec.labels or spec.events})
            return [*offsets(stretches), *as_offsets(source, topics, times(stretches))]
        finally:
            source.close()

    def diff(self, model: str, one: int, other: int) -> dict[str, Any]:
        """What sets two versions apart."""
        return difference(self.services, model, (one, other))


def spec_of(settings: Settings, model: str) -> ModelSpec:
    """The file's specification; NotFoundError names those there are."""
    for spec in settings.models:
        if spec.name == model:
            return spec
    known = ", ".join(spec.name for spec in settings.models) or "none"
    msg = f"found no model {model!r} in the configuration, expected one of: {known}"
    raise NotFoundError(msg)


@contextmanager
def open_app(settings: Settings, *, telemetry: Telemetry | None = None) -> Iterator[App]:
    """Connections are opened here and closed at the end of the block."""
    storage = settings.storage
    key = load_key(storage.key_file)
    reached = _failpoint(settings.failpoint)
    with open_registry(
        storage.url, artifacts=storage.artifacts, key=key, environment=environment(), reached=reached
    ) as registry:
        services = _services(settings, registry, telemetry or NullTelemetry(), reached=reached)
        yield App(settings, registry, services)


def _services(
    settings: Settings, registry: Registry, telemetry: Telemetry, *, reached: Callable[[CheckpointStep], None]
) -> Services:
    return Services(
        models=registry.models,
        history=registry.history,
        leases=registry.leases,
        checkpoints=registry.checkpoints,
        changes=registry.changes,
        commands=registry.commands,
        dead_letters=registry.dead_letters,
        pending=registry.pending,
        outbox=registry.outbox,
        exclusions=registry.exclusions,
        replays=registry.replays,
        sealer=registry.signer,
        telemetry=telemetry,
        source=lambda group: open_source(settings, group),
        archive=lambda _spec: NoArchive(),
        sink=lambda: open_sink(settings),
        decoder=make_decoder,
        footprint=lambda name: MappedFootprint(Path(settings.storage.key_file).parent / "run" / f"{name}.mark"),
        build=build_estimator,
        environment=environment(),
        holder=str(Holder.current()),
        lease_ttl_s=settings.lease.ttl,
        make_topics=settings.stream.kind == "log",
        tidy=partial(_tidy, settings),
        reached=reached,
    )


def _tidy(settings: Settings) -> None:
    """Apply the embedded log's retention; a broker looks after its own."""
    if settings.stream.kind == "log":
        sink = log.LogSink(settings.stream.log.path)
        sink.prune(retention_s=settings.stream.log.retention)
        sink.close()


def rehearse(settings: Settings) -> None:
    """Build what every model needs; ConfigurationError names the first that cannot be built."""
    for spec in settings.models:
        try:
            make_decoder(spec)
            build_estimator(spec)
        except ConfigurationError as error:
            msg = f"model {spec.name}: {error}"
            raise ConfigurationError(msg) from error


def build_estimator(spec: ModelSpec) -> tuple[Any, frozenset[tuple[str, str]]]:
    """A new estimator, and the classes of the user's own that its artifacts may name."""
    if spec.factory is not None:
        estimator = estimators.load_factory(spec.factory)
        estimators.require_batch(estimator, batch=spec.learn.batch)
        return estimator, estimators.allowed_classes_of(estimator)
    return estimators.build(spec.estimator, task=spec.task, seed=spec.seed), frozenset()


def open_source(settings: Settings, group: str) -> Source:
    """The configured stream's reader."""
    stream = settings.stream
    if stream.kind == "log":
        return log.LogSource(stream.log.path)
    reader: Source = _driver(settings, "Source")(_kafka_settings(settings), group=f"headrace-{group}")
    return reader


def open_sink(settings: Settings) -> Sink:
    """The configured stream's writer."""
    stream = settings.stream
    if stream.kind == "log":
        return log.LogSink(stream.log.path)
    writer: Sink = _driver(settings, "Sink")(_kafka_settings(settings))
    return writer


def environment() -> Mapping[str, str]:
    """What a version records of where it was made."""
    packages = ("headrace", "river", "numpy", "scikit-learn")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _kafka_settings(settings: Settings) -> KafkaSettings:
    kafka = settings.stream.kafka
    password = kafka.sasl_password
    return KafkaSettings(
        bootstrap_servers=kafka.bootstrap_servers,
        security_protocol=kafka.security_protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_username=kafka.sasl_username,
        sasl_password=password.get_secret_value() if password else None,
        ssl_cafile=kafka.ssl_cafile,
        ssl_certfile=kafka.ssl_certfile,
        ssl_keyfile=kafka.ssl_keyfile,
        extra=kafka.options,
    )


def _driver(settings: Settings, what: str) -> Any:
    """The chosen driver's class; loaded here, because importing a driver takes a third of a second."""
    driver = settings.stream.kafka.driver
    module, prefix = DRIVERS[driver]
    try:
        return getattr(importlib.import_module(module), f"{prefix}{what}")
    except ImportError as error:
        msg = f"found no {error.name}, which driver {driver} needs; install `headrace[librdkafka]`"
        raise ConfigurationError(msg) from error


def _failpoint(text: str | None) -> Callable[[CheckpointStep], None]:
    """`lease_proved:2` kills the process when that step is reached for the second time; for tests."""
    if text is None:
        return lambda _step: None
    name, _, count = text.partition(":")
    left = [int(count or 1)]

    def reached(step: CheckpointStep) -> None:
        if step == name:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reached
