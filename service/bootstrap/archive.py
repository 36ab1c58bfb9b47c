"""The archive's parts, from the settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from service.config import Settings
from service.domain.registry.archive import ArchivedTopic, ArchiveStep, FileContents, FileFacts, archived_topics
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import TopicPartition
from service.lazy import lazy_imports
from service.operations.services import Archiving
from service.ports.archive import Archive, ArchiveFiles, ArchiveFrames, ArchiveRanges, OpenRange
from service.ports.stream import Source
from service.ports.telemetry import ArchiveTelemetry
from service.storage.registry import Registry
from service.stream.archive.files import open_files

with lazy_imports():
    from service.operations.archiving import archiver
    from service.stream.archive import frames as archive_frames
    from service.stream.archive import range_file as archive_ranges
    from service.stream.archive import reader as archive_reader
    from service.stream.archive import tail_frames
    from service.stream.decoding import factory as decoders


@dataclass(frozen=True)
class _Ranges:
    """Implements `ports.ArchiveRanges`; pyarrow, which writes them, is imported by the first that asks for a range."""

    files: ArchiveFiles

    @cached_property
    def _made(self) -> ArchiveRanges:
        return archive_ranges.Ranges(self.files, decoders.make_decoder)

    def resume(self, topic: ArchivedTopic, at: TopicPartition, *, offset: int, size: int) -> OpenRange:
        """Return the range that holds the offset, new or taken up where its file ends."""
        return self._made.resume(topic, at, offset=offset, size=size)

    def follow(self, topic: ArchivedTopic, at: TopicPartition, *, offset: int, size: int) -> OpenRange:
        """Return the range that comes next."""
        return self._made.follow(topic, at, offset=offset, size=size)

    def facts(self, at: TopicPartition, first: int) -> FileFacts:
        """Return what a file says of itself."""
        return self._made.facts(at, first)

    def contents(self, at: TopicPartition, first: int) -> FileContents:
        """Return the same with offsets and timestamps."""
        return self._made.contents(at, first)


def archiving(
    settings: Settings, registry: Registry, telemetry: ArchiveTelemetry, *, reached: Callable[[ArchiveStep], None]
) -> Archiving | None:
    """Files are opened when they are needed: a store of objects begins a thread."""
    if settings.storage.archive is None:
        return None
    files = open_files(settings.storage.archive, reached=reached)
    return Archiving(files, _Ranges(files), registry.archives, registry.archives, telemetry, reached)


def archive_of(parts: Archiving | None, spec: ModelSpec) -> Archive:
    """The past of a model's topics; an empty one where nothing is archived."""
    if parts is None:
        return archive_reader.NoArchive()
    return archive_reader.ArchiveReader(spec, decoders.make_decoder(spec), parts.files, parts.rows)


def frames_of(parts: Archiving | None, source: Callable[[str], Source], spec: ModelSpec) -> ArchiveFrames:
    """The same past as columns, and behind it what only the stream holds yet."""
    decoder = decoders.make_decoder(spec)
    archived: ArchiveFrames = archive_frames.NoFrames()
    if parts is not None:
        archived = archive_frames.FrameReader(spec, decoder, parts.files, parts.rows)
    return tail_frames.TailFrames(archived, decoder, partial(source, f"{spec.name}-window"), topics=spec.topics)


def topics(settings: Settings) -> Sequence[ArchivedTopic]:
    """What is archived: every topic of every model."""
    return archived_topics(settings.models, raw=settings.archive.raw == "always")


def options(settings: Settings, *, until_end: bool, wait_for_lease: bool) -> "archiver.ArchiveOptions":
    """How, and until when."""
    given = settings.archive
    return archiver.ArchiveOptions(
        topics=topics(settings),
        size=given.range,
        every_s=given.every,
        keep_s=given.keep,
        max_bytes=given.max_bytes,
        until_end=until_end,
        wait_for_lease=wait_for_lease,
    )
