"""The composition root: builds every adapter from the settings and connects it to the operations.

No other package builds adapters. Only `cli` and `__main__` import this one. Begin with `open_app` in `__init__.py`,
then `wiring.py`, which says which adapter stands behind which port.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from service.bootstrap import archive
from service.bootstrap.memory import configure_allocator
from service.bootstrap.wiring import build_estimator, build_services, environment, failpoint
from service.config import Settings
from service.domain.access.access import Token, TokenGrant
from service.domain.registry.archive import ArchivedTopic, BackfillResult
from service.domain.registry.metric_history import HistoryQuery, MetricHistory
from service.domain.registry.registry import CommandKind, Json, RegisteredModel
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import TopicPartition
from service.domain.stream.exclusion import Exclusion, offset_ranges, time_ranges
from service.domain.stream.position import OffsetRange
from service.errors import ConfigurationError, NotFoundError
from service.lazy import lazy_imports
from service.metrics.null import NullTelemetry
from service.operations.inference.tokens import grant_token
from service.operations.services import ArchivingServices, Services
from service.ports.stream import Decoder, Sink, Source
from service.ports.telemetry import RoleTelemetry
from service.storage.checkpoints.signing import Signer, load_key
from service.storage.registry import Registry, open_registry
from service.storage.transactions.holder import Holder

with lazy_imports():
    from service.operations.archiving import archiver, backfill
    from service.operations.archiving import lag as archive_lag
    from service.operations.archiving import retention as archive_retention
    from service.operations.archiving import verify as archive_verify
    from service.operations.commands import request as command_request
    from service.operations.history import exclusions
    from service.operations.learning_loop import opening
    from service.operations.learning_loop import worker as learning_worker
    from service.operations.monitoring import metric_history
    from service.operations.states import diff, transfer, verify
    from service.operations.states import verify as artifact_verification
    from service.stream.archive import backfill as archive_backfill
    from service.stream.decoding import factory as decoders


@dataclass(frozen=True, slots=True)
class App:
    """Holds the settings, the open registry and the services that the commands of the CLI work with."""

    settings: Settings
    registry: Registry
    services: Services

    def source(self, group: str) -> Source:
        """Return a reader of the configured stream for this consumer group."""
        return self.services.streams.source(group)

    def sink(self) -> Sink:
        """Return a writer to the configured stream."""
        return self.services.streams.sink()

    def decoder(self, spec: ModelSpec) -> Decoder:
        """Return the decoder for the model's specification."""
        return self.services.streams.decoder(spec)

    def spec(self, model: str) -> ModelSpec:
        """Return the model's specification from the file; raise NotFoundError, which names the configured models."""
        return configured_spec(self.settings, model)

    def worker(
        self, models: Sequence[str], options: "opening.LearnOptions", *, stop: threading.Event, nonce: str
    ) -> "learning_worker.Worker":
        """Return a learner of these models, or of all of them; its `run()` returns when it is done.

        Raise ConfigurationError when the file has no models.
        """
        specs = [self.spec(model) for model in models] if models else list(self.settings.models)
        if not specs:
            msg = "found no models in the configuration, expected at least one under `models:`; see `headrace init`"
            raise ConfigurationError(msg)
        configure_allocator()
        services = replace(self.services, holder=str(Holder.current(nonce=nonce)))
        return learning_worker.Worker(services, specs, options, stop)

    def archiver(
        self, *, stop: threading.Event, nonce: str, until_end: bool, wait_for_lease: bool
    ) -> "archiver.Archiver":
        """Return an archiver of every model's topics; its `run()` returns when it is done."""
        services = replace(self.services, holder=str(Holder.current(nonce=nonce)))
        options = archive.archive_options(self.settings, until_end=until_end, wait_for_lease=wait_for_lease)
        return archiver.Archiver(services, self._archiving(), options, stop)

    def backfill(self, model: str, file: Path) -> BackfillResult | None:
        """Import older history of a model from a file; return None when the archive already has that file."""
        parts, topic = self._archiving(), ArchivedTopic(self.spec(model).events, self.spec(model), raw=False)
        source = archive_backfill.HistoryFile(
            file, topic, self.decoder(topic.spec), parts.files, size=self.settings.archive.range
        )
        return backfill.backfill_file(self.services, parts, topic, source)

    def archive_lag(self) -> Mapping[TopicPartition, int]:
        """Return how many offsets of each partition are not durable in the archive yet.

        Raise UnavailableError when the archive cannot be written.
        """
        self._archiving().files.check_writable()
        source = self.source("doctor")
        try:
            return archive_lag.archive_lag(
                source, archive.configured_topics(self.settings), self.registry.archives.list()
            )
        finally:
            source.close()

    def _archiving(self) -> ArchivingServices:
        if self.services.archiving is None or not self.settings.models:
            msg = "found no storage.archive or no model in the configuration, expected both; see `headrace init`"
            raise ConfigurationError(msg)
        return self.services.archiving

    def run_command(self, model: str, kind: CommandKind, arguments: Json, *, actor: str, wait_s: float = 30.0) -> str:
        """Request a command, wait until a learner has carried it out, and return its outcome; or raise RefusedError."""
        return command_request.request_and_wait(
            self.services, model, kind=kind, arguments=arguments, actor=actor, wait_s=wait_s
        )

    def parse_exclusions(self, model: str, range_texts: Sequence[str]) -> list[Exclusion]:
        """Parse ranges written as FROM..TO into exclusions; raise ConfigurationError for one that is malformed."""
        return exclusions.parse_exclusions(self.services, model, range_texts)

    def create_token(self, grant: TokenGrant, *, actor: str) -> tuple[Token, str]:
        """Create a token; return it with its secret text, which cannot be shown again."""
        return grant_token(self.registry.models, self.registry.tokens, grant, actor=actor)

    def export(self, model: str, number: int) -> bytes:
        """Return a version as the bytes of an export file."""
        return transfer.export_version(self.services, model, number)

    def import_version(
        self, data: bytes, *, name: str | None, key_file: Path | None, keep_position: bool, actor: str
    ) -> ModelSpec:
        """Register the file's version as a new model and return that model's specification."""
        parcel = transfer.read_export(data)
        opener = Signer(load_key(key_file)) if key_file else self.services.states.sealer
        return transfer.import_as_model(
            self.services, parcel, name=name or parcel.model, sealer=opener, keep_position=keep_position, actor=actor
        )[1]

    def verify(self) -> Sequence["verify.Finding"]:
        """Check every artifact and every file of the archive; return a finding for each, good or bad."""
        parts = self.services.archiving
        return [
            *verify.verify_artifacts(self.services),
            *(
                archive_verify.verify_archive(self.services, parts, archive.configured_topics(self.settings))
                if parts
                else ()
            ),
        ]

    def prune(self) -> dict[str, str]:
        """Apply retention now; return what was done for each model and each archived partition."""
        found = {
            str(model.name): artifact_verification.prune_checkpoints(self.services, model)
            for model in self.registry.models.list()
        }
        parts, given = self.services.archiving, self.settings.archive
        if parts is not None:
            found |= archive_retention.apply_retention(
                self.services, parts, retention_s=given.keep, max_bytes=given.max_bytes
            )
        return found

    def metric_history(self, model: str, query: HistoryQuery) -> MetricHistory:
        """Return the model's metrics over time, with the changes to the model in that time."""
        registry, found = self.registry, self.registry.models.get(model)
        return metric_history.metric_history(
            registry.history, registry.checkpoints, model=found, query=query, excluded_runs=self._excluded_runs(found)
        )

    def _excluded_runs(self, model: RegisteredModel) -> Sequence[OffsetRange]:
        excluded_ranges = [one.excluded_range for one in self.registry.exclusions.list(model.name)]
        if not time_ranges(excluded_ranges):
            return offset_ranges(excluded_ranges)
        spec, source = ModelSpec.model_validate(model.spec), self.source(f"{model.name}-history")
        try:
            topics = sorted({spec.events, spec.labels or spec.events})
            return [
                *offset_ranges(excluded_ranges),
                *exclusions.time_ranges_as_runs(source, topics, time_ranges(excluded_ranges)),
            ]
        finally:
            source.close()

    def diff(self, model: str, one: int, other: int) -> dict[str, Any]:
        """Return the differences between two versions."""
        return diff.compare_versions(self.services, model, (one, other))


def configured_spec(settings: Settings, model: str) -> ModelSpec:
    """Return the model's specification from the settings; raise NotFoundError, which names the configured models."""
    for spec in settings.models:
        if spec.name == model:
            return spec
    known = ", ".join(spec.name for spec in settings.models) or "none"
    msg = f"found no model {model!r} in the configuration, expected one of: {known}"
    raise NotFoundError(msg)


@contextmanager
def open_app(settings: Settings, *, telemetry: RoleTelemetry | None = None) -> Iterator[App]:
    """Open the registry and build the services; close every connection at the end of the block."""
    storage = settings.storage
    key = load_key(storage.key_file)
    on_step = failpoint(settings.failpoint)
    with open_registry(
        storage.url, artifacts=storage.artifacts, key=key, environment=environment(), on_step=on_step
    ) as registry:
        services = build_services(settings, registry, telemetry or NullTelemetry(), on_step=on_step)
        yield App(settings, registry, services)


def require_models_buildable(settings: Settings) -> None:
    """Build the decoder and estimator of every model; raise ConfigurationError for the first that cannot be built."""
    for spec in settings.models:
        try:
            decoders.make_decoder(spec)
            build_estimator(spec)
        except ConfigurationError as error:
            msg = f"model {spec.name}: {error}"
            raise ConfigurationError(msg) from error
