"""Which adapter stands behind which port."""

import importlib.metadata
import os
import platform
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from service.bootstrap import archive
from service.bootstrap.memory import MemoryTrimmer
from service.config import Settings
from service.domain.registry.archive import ArchiveStep
from service.domain.registry.registry import CheckpointStep
from service.domain.specification.model import ModelSpec
from service.lazy import lazy_imports
from service.operations.services import (
    LearnerServices,
    RegistryServices,
    Services,
    StateServices,
    StreamServices,
    TrainingServices,
)
from service.ports.stream import Decoder
from service.ports.telemetry import RoleTelemetry
from service.storage.checkpoints.crash_marker import MappedCrashMarker
from service.storage.registry import Registry
from service.storage.transactions.holder import Holder

with lazy_imports():
    from service.bootstrap import streams
    from service.learning.estimators import build as estimators
    from service.stream.decoding import factory as decoders
    from service.stream.log import sink as log_sink


def with_own_holder(services: Services, nonce: str) -> Services:
    """With a holder that is no sibling of the learner: it must not be taken for the one that may write there."""
    return replace(services, holder=str(Holder.current(nonce=nonce)))


def build_services(
    settings: Settings,
    registry: Registry,
    telemetry: RoleTelemetry,
    *,
    on_step: Callable[[CheckpointStep | ArchiveStep], None],
) -> Services:
    """Every port, over this registry and the configured stream."""
    archiving = archive.build_archiving(settings, registry, telemetry, on_step=on_step)
    return Services(
        registry=_registry_services(registry),
        streams=StreamServices(
            source=lambda group: streams.open_source(settings, group),
            sink=lambda: streams.open_sink(settings),
            decoder=_decoder,
            archive=partial(archive.archive_of, archiving),
            archive_frames=partial(archive.frames_of, archiving, lambda group: streams.open_source(settings, group)),
            create_topics=settings.stream.kind == "log",
        ),
        states=StateServices(registry.signer, build_estimator, environment()),
        learner=LearnerServices(
            telemetry,
            crash_marker=lambda name: MappedCrashMarker(
                Path(settings.storage.key_file).parent / "run" / f"{name}.mark"
            ),
            clean_up=partial(_clean_up, settings, MemoryTrimmer()),
            on_step=on_step,
        ),
        training=TrainingServices(
            registry.jobs, registry.job_runs, registry.holdout_openings, registry.trainer_leases, telemetry
        ),
        archiving=archiving,
        holder=str(Holder.current()),
        lease_ttl_s=settings.lease.ttl,
    )


def _registry_services(registry: Registry) -> RegistryServices:
    return RegistryServices(
        models=registry.models,
        history=registry.history,
        leases=registry.leases,
        checkpoints=registry.checkpoints,
        changes=registry.changes,
        commands=registry.commands,
        dead_letters=registry.dead_letters,
        pending=registry.pending_events,
        outbox=registry.outbox,
        exclusions=registry.exclusions,
        replays=registry.replays,
        signals=registry.drift_signals,
        challengers=registry.challengers,
    )


def _decoder(spec: ModelSpec) -> Decoder:
    return decoders.make_decoder(spec)


def _clean_up(settings: Settings, memory_trimmer: MemoryTrimmer) -> None:
    """Give memory back, and apply the embedded log's retention; a broker looks after its own."""
    memory_trimmer.trim()
    if settings.stream.kind == "log":
        sink = log_sink.LogSink(settings.stream.log.path)
        sink.prune(retention_s=settings.stream.log.retention)
        sink.close()


def build_estimator(spec: ModelSpec) -> tuple[Any, frozenset[tuple[str, str]]]:
    """A new estimator, and the classes of the user's own that its artifacts may name."""
    if spec.factory is not None:
        estimator = estimators.load_factory(spec.factory)
        estimators.require_batch_support(estimator, batch=spec.learn.batch)
        return estimator, estimators.allowed_classes_of(estimator)
    return estimators.estimator_from_expression(spec.estimator, task=spec.task, seed=spec.seed), frozenset()


def environment() -> Mapping[str, str]:
    """What a version records of where it was made."""
    packages = ("headrace", "river", "numpy", "scikit-learn")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def failpoint(text: str | None) -> Callable[[CheckpointStep | ArchiveStep], None]:
    """`lease_proved:2` kills the process when that step is reached for the second time; for tests."""
    if text is None:
        return lambda _step: None
    name, _, count = text.partition(":")
    left = [int(count or 1)]

    def reached(step: CheckpointStep | ArchiveStep) -> None:
        if step == name:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reached
