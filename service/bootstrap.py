"""The composition root: settings in, object graph out; the only place where adapters are built."""

import importlib.metadata
import platform
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from service.config import Settings
from service.domain.registry import CommandKind, Json
from service.domain.specification import ModelSpec
from service.errors import ConfigurationError, NotFoundError
from service.learning import estimators
from service.operations.administer import chosen
from service.operations.ask import ask
from service.operations.diff import difference
from service.operations.host import Host, LearnOptions
from service.operations.services import Services
from service.ports import Decoder, Sink, Source, Telemetry
from service.storage.footprint import MappedFootprint
from service.storage.holder import Holder
from service.storage.registry import Registry, open_registry
from service.storage.signing import load_key
from service.stream import kafka_python, log
from service.stream.decoders import make_decoder
from service.stream.kafka_settings import KafkaSettings
from service.testing.telemetry import NullTelemetry


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
        for spec in self.settings.models:
            if spec.name == model:
                return spec
        known = ", ".join(spec.name for spec in self.settings.models) or "none"
        msg = f"found no model {model!r} in the configuration, expected one of: {known}"
        raise NotFoundError(msg)

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

    def preview_rollback(self, model: str, to: int | None, at: str | None) -> dict[str, Any]:
        """What a rollback would do."""
        _, number, name = chosen(self.services, model, to=to, at=at)
        return {"model": model, "mode": "restore", "to": name, "version": number}

    def diff(self, model: str, one: int, other: int) -> dict[str, Any]:
        """What sets two versions apart."""
        return difference(self.services, model, (one, other))


@contextmanager
def open_app(settings: Settings, *, telemetry: Telemetry | None = None) -> Iterator[App]:
    """Connections are opened here and closed at the end of the block."""
    storage = settings.storage
    key = load_key(storage.key_file)
    with open_registry(storage.url, artifacts=storage.artifacts, key=key) as registry:
        services = _services(settings, registry, telemetry or NullTelemetry())
        yield App(settings, registry, services)


def _services(settings: Settings, registry: Registry, telemetry: Telemetry) -> Services:
    return Services(
        models=registry.models,
        history=registry.history,
        leases=registry.leases,
        checkpoints=registry.checkpoints,
        changes=registry.changes,
        commands=registry.commands,
        dead_letters=registry.dead_letters,
        sealer=registry.signer,
        telemetry=telemetry,
        source=lambda group: open_source(settings, group),
        sink=lambda: open_sink(settings),
        decoder=make_decoder,
        footprint=lambda name: MappedFootprint(Path(settings.storage.artifacts).parent / "run" / f"{name}.mark"),
        build=build_estimator,
        environment=environment(),
        holder=str(Holder.current()),
        lease_ttl_s=settings.lease.ttl,
        make_topics=settings.stream.kind == "log",
    )


def build_estimator(spec: ModelSpec) -> tuple[Any, frozenset[tuple[str, str]]]:
    """A new estimator, and the classes of the user's own that its artifacts may name."""
    if spec.factory is not None:
        estimator = estimators.load_factory(spec.factory)
        return estimator, estimators.allowed_classes_of(estimator)
    return estimators.build(spec.estimator, task=spec.task, seed=spec.seed), frozenset()


def open_source(settings: Settings, group: str) -> Source:
    """The configured stream's reader."""
    stream = settings.stream
    if stream.kind == "log":
        return log.LogSource(stream.log.path)
    kafka = _kafka_settings(settings)
    if stream.kafka.driver == "librdkafka":
        return _librdkafka().LibrdkafkaSource(kafka, group=f"headrace-{group}")
    return kafka_python.KafkaPythonSource(kafka, group=f"headrace-{group}")


def open_sink(settings: Settings) -> Sink:
    """The configured stream's writer."""
    stream = settings.stream
    if stream.kind == "log":
        return log.LogSink(stream.log.path)
    kafka = _kafka_settings(settings)
    if stream.kafka.driver == "librdkafka":
        return _librdkafka().LibrdkafkaSink(kafka)
    return kafka_python.KafkaPythonSink(kafka)


def environment() -> Mapping[str, str]:
    """What a version records of where it was made."""
    packages = ("headrace", "river", "numpy", "scikit-learn")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
