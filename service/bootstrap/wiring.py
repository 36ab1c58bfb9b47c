"""Says which adapter stands behind which port."""

import importlib.metadata
import os
import platform
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from service.bootstrap import archive, streams
from service.bootstrap.memory import MemoryTrimmer
from service.config import Settings
from service.domain.registry.archive import ArchiveStep
from service.domain.registry.registry import CheckpointStep
from service.domain.specification.model import ModelSpec
from service.lazy import lazy_imports
from service.learning.estimators import build as estimators
from service.operations.services import Services, TrainingServices
from service.ports.stream import Decoder
from service.ports.telemetry import RoleTelemetry
from service.storage.checkpoints.crash_marker import MappedCrashMarker
from service.storage.registry import Registry
from service.storage.transactions.holder import Holder
from service.stream.decoding import factory as decoders
from service.stream.log import sink as log_sink

with lazy_imports():
    from service.bootstrap import streams
    from service.learning.estimators import build as estimators
    from service.stream.decoding import factory as decoders
    from service.stream.log import sink as log_sink


def _with_own_holder(services: Services, nonce: str) -> Services:
    """Return the services under a holder with this nonce.

    It must differ from the learner's, or this process would be taken for a sibling that may take over the learner's
    lease.
    """
    return replace(services, holder=str(Holder.current(nonce=nonce)))


def build_services(
    settings: Settings,
    registry: Registry,
    telemetry: RoleTelemetry,
    *,
    on_step: Callable[[CheckpointStep | ArchiveStep], None],
) -> Services:
    """Return every port over this registry and the configured stream."""
    archiving = archive.build_archiving(settings, registry, telemetry, on_step=on_step)
    return Services(
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
        sealer=registry.signer,
        telemetry=telemetry,
        source=lambda group: streams.open_source(settings, group),
        sink=lambda: streams.open_sink(settings),
        decoder=_decoder,
        crash_marker=lambda name: MappedCrashMarker(Path(settings.storage.key_file).parent / "run" / f"{name}.mark"),
        build_estimator=build_estimator,
        environment=environment(),
        holder=str(Holder.current()),
        lease_ttl_s=settings.lease.ttl,
        create_topics=settings.stream.kind == "log",
        clean_up=partial(_clean_up, settings, MemoryTrimmer()),
        on_step=on_step,
        archive=partial(archive.archive_of, archiving),
        archive_frames=partial(archive.frames_of, archiving, lambda group: streams.open_source(settings, group)),
        archiving=archiving,
        training=TrainingServices(
            registry.jobs, registry.job_runs, registry.holdout_openings, registry.trainer_leases, telemetry
        ),
        challengers=registry.challengers,
    )


def _decoder(spec: ModelSpec) -> Decoder:
    return decoders.make_decoder(spec)


def _clean_up(settings: Settings, memory_trimmer: MemoryTrimmer) -> None:
    """Return freed memory, and apply the embedded log's retention; a broker applies its own."""
    memory_trimmer.trim()
    if settings.stream.kind == "log":
        sink = log_sink.LogSink(settings.stream.log.path)
        sink.prune(retention_s=settings.stream.log.retention)
        sink.close()


def build_estimator(spec: ModelSpec) -> tuple[Any, frozenset[tuple[str, str]]]:
    """Return a new estimator, and the user's own classes that its artifacts may name as (module, name) pairs."""
    if spec.factory is not None:
        estimator = estimators.load_factory(spec.factory)
        estimators.require_batch_support(estimator, batch=spec.learn.batch)
        return estimator, estimators.allowed_classes_of(estimator)
    return estimators.estimator_from_expression(spec.estimator, task=spec.task, seed=spec.seed), frozenset()


def environment() -> Mapping[str, str]:
    """Return the versions of Python and of the packages that a model version records."""
    packages = ("headrace", "river", "numpy", "scikit-learn")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def failpoint(text: str | None) -> Callable[[CheckpointStep | ArchiveStep], None]:
    """Return a hook for tests that kills the process at a step; `lease_proved:2` does so at its second time."""
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
