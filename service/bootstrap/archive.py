"""The archive's parts, from the settings."""

from collections.abc import Callable, Sequence
from functools import partial

from service.config import Settings
from service.domain.archive import ArchivedTopic, ArchiveStep, archived_topics
from service.domain.specification import ModelSpec
from service.operations.archive import ArchiveOptions
from service.operations.services import Archiving
from service.ports import Archive, ArchiveFrames, ArchiveTelemetry, Source
from service.storage.registry import Registry
from service.stream.archive_files import open_files
from service.stream.archive_frames import FrameReader, NoFrames
from service.stream.archive_ranges import Ranges
from service.stream.archive_reader import ArchiveReader, NoArchive
from service.stream.decoders import make_decoder
from service.stream.tail_frames import TailFrames


def archiving(
    settings: Settings, registry: Registry, telemetry: ArchiveTelemetry, *, reached: Callable[[ArchiveStep], None]
) -> Archiving | None:
    """Files are opened when they are needed: a store of objects begins a thread."""
    if settings.storage.archive is None:
        return None
    files = open_files(settings.storage.archive, reached=reached)
    ranges = Ranges(files, make_decoder)
    return Archiving(files, ranges, registry.archives, registry.archives, telemetry, reached)


def archive_of(parts: Archiving | None, spec: ModelSpec) -> Archive:
    """The past of a model's topics; an empty one where nothing is archived."""
    return ArchiveReader(spec, make_decoder(spec), parts.files, parts.rows) if parts else NoArchive()


def frames_of(parts: Archiving | None, source: Callable[[str], Source], spec: ModelSpec) -> ArchiveFrames:
    """The same past as columns, and behind it what only the stream holds yet."""
    decoder = make_decoder(spec)
    archived = FrameReader(spec, decoder, parts.files, parts.rows) if parts else NoFrames()
    return TailFrames(archived, decoder, partial(source, f"{spec.name}-window"), topics=spec.topics)


def topics(settings: Settings) -> Sequence[ArchivedTopic]:
    """What is archived: every topic of every model."""
    return archived_topics(settings.models, raw=settings.archive.raw == "always")


def options(settings: Settings, *, until_end: bool, wait_for_lease: bool) -> ArchiveOptions:
    """How, and until when."""
    given = settings.archive
    return ArchiveOptions(
        topics=topics(settings),
        size=given.range,
        every_s=given.every,
        keep_s=given.keep,
        max_bytes=given.max_bytes,
        until_end=until_end,
        wait_for_lease=wait_for_lease,
    )
