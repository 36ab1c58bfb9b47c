"""Builds the archive's readers and writers from the settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from service.config import Settings
from service.domain.registry.archive import (
    ArchivedTopic,
    ArchiveFileContents,
    ArchiveFileInfo,
    ArchiveStep,
    archived_topics,
)
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import TopicPartition
from service.lazy import lazy_imports
from service.operations.services import ArchivingServices
from service.ports.archive import Archive, ArchiveFiles, ArchiveFrames, ArchiveRanges, OpenRange
from service.ports.stream import Source
from service.ports.telemetry import ArchiveTelemetry
from service.storage.registry import Registry
from service.stream.archive.files import open_archive_files

with lazy_imports():
    from service.operations.archiving import archiver
    from service.stream.archive import frames as archive_frames
    from service.stream.archive import range_file, tail_frames
    from service.stream.archive import reader as archive_reader
    from service.stream.decoding import factory as decoders


@dataclass(frozen=True)
class _Ranges:
    """Implements `ports.archive.ArchiveRanges`; imports pyarrow only when a range or file is first needed."""

    files: ArchiveFiles

    @cached_property
    def _made(self) -> ArchiveRanges:
        return range_file.ParquetRanges(self.files, decoders.make_decoder)

    def resume(self, topic: ArchivedTopic, at: TopicPartition, *, offset: int, range_size: int) -> OpenRange:
        """Return the range that holds the offset: a new one, or the existing file's, continued where it ends."""
        return self._made.resume(topic, at, offset=offset, range_size=range_size)

    def open_next(self, topic: ArchivedTopic, at: TopicPartition, *, offset: int, range_size: int) -> OpenRange:
        """Return the range that begins at the offset."""
        return self._made.open_next(topic, at, offset=offset, range_size=range_size)

    def file_info(self, at: TopicPartition, first: int) -> ArchiveFileInfo:
        """Return the metadata of a file."""
        return self._made.file_info(at, first)

    def contents(self, at: TopicPartition, first: int) -> ArchiveFileContents:
        """Return the metadata of a file with the offsets and timestamps of its records."""
        return self._made.contents(at, first)


def build_archiving(
    settings: Settings, registry: Registry, telemetry: ArchiveTelemetry, *, on_step: Callable[[ArchiveStep], None]
) -> ArchivingServices | None:
    """Return the archive's services, or None when `storage.archive` is null.

    Connects to an object store only when a file is needed, because its client starts a thread.
    """
    if settings.storage.archive is None:
        return None
    files = open_archive_files(settings.storage.archive, on_step=on_step)
    return ArchivingServices(files, _Ranges(files), registry.archives, registry.archives, telemetry, on_step)


def archive_of(archiving: ArchivingServices | None, spec: ModelSpec) -> Archive:
    """Return a reader of the model's archived topics; it is empty when nothing is archived."""
    if archiving is None:
        return archive_reader.NoArchive()
    return archive_reader.ArchiveReader(spec, decoders.make_decoder(spec), archiving.files, archiving.rows)


def frames_of(archiving: ArchivingServices | None, source: Callable[[str], Source], spec: ModelSpec) -> ArchiveFrames:
    """Return a columnar reader of the archived topics, followed by the records that only the stream holds yet."""
    decoder = decoders.make_decoder(spec)
    archived: ArchiveFrames = archive_frames.NoArchiveFrames()
    if archiving is not None:
        archived = archive_frames.ArchiveFrameReader(spec, decoder, archiving.files, archiving.rows)
    return tail_frames.TailFrames(archived, decoder, partial(source, f"{spec.name}-window"), topics=spec.topics)


def configured_topics(settings: Settings) -> Sequence[ArchivedTopic]:
    """Return the topics to archive: every topic of every model."""
    return archived_topics(settings.models, raw=settings.archive.raw == "always")


def archive_options(settings: Settings, *, until_end: bool, wait_for_lease: bool) -> "archiver.ArchiveOptions":
    """Return the archiver's options from the settings."""
    given = settings.archive
    return archiver.ArchiveOptions(
        topics=configured_topics(settings),
        range_size=given.range,
        flush_every_s=given.every,
        retention_s=given.keep,
        max_bytes=given.max_bytes,
        until_end=until_end,
        wait_for_lease=wait_for_lease,
    )
