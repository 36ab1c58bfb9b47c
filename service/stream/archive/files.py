"""Stores the archive's files in a folder, or anywhere that fsspec reaches."""

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import fsspec

from service.domain.registry.archive import ArchiveStep
from service.domain.stream.events import TopicPartition
from service.errors import LeaseHeldError, LeaseLostError, NotFoundError, UnavailableError
from service.ports.archive import ArchiveFiles

ArchiveStepHook = Callable[[ArchiveStep], None]
SUFFIX = ".parquet"
_LOCK = ".lock"
_PROBE_BYTES = 4096
_CONFLICTS = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
_IF_ABSENT: Mapping[str, str] = {"IfNoneMatch": "*"}


def partition_folder(at: TopicPartition) -> str:
    """Return the name of the partition's folder, escaped so that any topic name works."""
    topic = quote(at.topic, safe="@")
    return f"{topic.replace('.', '%2E') if set(topic) == {'.'} else topic}/{at.partition}"


def file_name(first: int) -> str:
    """Return the name of a range's file; names sort as offsets do."""
    return f"{first:020d}{SUFFIX}"


class LocalArchiveFiles:
    """Writes files aside, fsyncs and renames them; a lock on the folder keeps out a second process on this host."""

    def __init__(self, folder: Path, *, on_step: ArchiveStepHook) -> None:
        self._folder = folder
        self._on_step = on_step
        self._locks: dict[TopicPartition, IO[bytes]] = {}

    def lock(self, at: TopicPartition) -> None:
        """Lock the partition's folder and delete unfinished files of dead processes.

        The lock is held as long as this object lives. Raise LeaseHeldError when another process holds it.
        """
        if at in self._locks:
            return
        with self._translate_os_errors():
            folder = self._folder / partition_folder(at)
            folder.mkdir(parents=True, exist_ok=True)
            lock_file = (folder / _LOCK).open("ab")
        # The lease alone would let a process that was paused replace a newer tail by an older one.
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock_file.close()
            msg = f"found {folder} locked by another process, expected one archiver; stop it, or wait for its end"
            raise LeaseHeldError(msg) from error
        self._locks[at] = lock_file
        for left in folder.glob(".*.part"):
            left.unlink(missing_ok=True)

    def sizes(self, at: TopicPartition) -> Mapping[int, int]:
        """Return the size in bytes of each file by its first offset, in order."""
        folder = self._folder / partition_folder(at)
        return {int(path.stem): path.stat().st_size for path in sorted(folder.glob(f"*{SUFFIX}"))}

    def read(self, at: TopicPartition, first: int) -> bytes:
        """Return the file's bytes; raise NotFoundError when there is none."""
        path = self._folder / partition_folder(at) / file_name(first)
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise _not_found_error(str(path)) from error

    def write(self, at: TopicPartition, first: int, data: bytes) -> None:
        """Write the file durably; raise UnavailableError when the disk is full or cannot be written."""
        self.lock(at)
        path = self._folder / partition_folder(at) / file_name(first)
        temporary_path = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with self._translate_os_errors():
                self._write(temporary_path, data)
                temporary_path.rename(path)
                _sync_folder(path.parent)
        except UnavailableError:
            with suppress(OSError):
                temporary_path.unlink()
            raise
        self._on_step(ArchiveStep.FILE_RENAMED)

    def delete(self, at: TopicPartition, first: int) -> None:
        """Delete the file if it exists."""
        (self._folder / partition_folder(at) / file_name(first)).unlink(missing_ok=True)

    def check_writable(self) -> None:
        """Raise UnavailableError when the folder cannot be created or written."""
        path = self._folder / f".{secrets.token_hex(8)}.probe"
        with self._translate_os_errors():
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                with path.open("wb") as file:
                    file.write(bytes(_PROBE_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                path.unlink(missing_ok=True)

    def _write(self, path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            self._on_step(ArchiveStep.FILE_WRITTEN)
            os.fsync(file.fileno())
        self._on_step(ArchiveStep.FILE_SYNCED)

    @contextmanager
    def _translate_os_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            msg = f"found the archive at {self._folder} not writable: {error.strerror}; make room or check its rights"
            raise UnavailableError(msg) from error


class RemoteArchiveFiles:
    """Stores whole objects; on S3, replaces an object only if it is still the one that this process knows."""

    def __init__(self, url: str, *, on_step: ArchiveStepHook) -> None:
        self._url = url
        self._on_step = on_step
        self._root = fsspec.core.strip_protocol(url)
        self._conditional_writes = url.startswith(("s3://", "s3a://"))
        self._tags: dict[str, str] = {}

    @cached_property
    def _files(self) -> Any:
        """Return the file system, made on first use: its client starts a thread, which does not survive a fork."""
        return fsspec.core.url_to_fs(self._url)[0]

    def lock(self, at: TopicPartition) -> None:
        """Do nothing: the lease, and on S3 the object's ETag, keep other writers out."""

    def sizes(self, at: TopicPartition) -> Mapping[int, int]:
        """Return the size in bytes of each object by its first offset, in order."""
        folder = f"{self._root}/{partition_folder(at)}"
        with self._translate_store_errors():
            self._files.invalidate_cache(folder)
            try:
                found = self._files.ls(folder, detail=True)
            except FileNotFoundError:
                return {}
        named = {one["name"].rsplit("/", 1)[-1]: int(one["size"]) for one in found}
        return {int(name.removesuffix(SUFFIX)): named[name] for name in sorted(named) if name.endswith(SUFFIX)}

    def read(self, at: TopicPartition, first: int) -> bytes:
        """Return the object's bytes; raise NotFoundError when there is none."""
        path = self._path(at, first)
        with self._translate_store_errors():
            try:
                if self._conditional_writes:
                    self._files.invalidate_cache(path)
                    self._tags[path] = self._files.info(path)["ETag"]
                data: bytes = self._files.cat_file(path)
            except FileNotFoundError as error:
                self._tags.pop(path, None)
                where = f"{self._url}: {path}"
                raise _not_found_error(where) from error
        return data

    def write(self, at: TopicPartition, first: int, data: bytes) -> None:
        """Write the object durably; raise LeaseLostError when another process has replaced it."""
        path = self._path(at, first)
        with self._translate_store_errors():
            if self._conditional_writes:
                self._put_if_unchanged(path, data)
            else:
                self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
                self._files.pipe_file(path, data)
        self._on_step(ArchiveStep.FILE_RENAMED)

    def delete(self, at: TopicPartition, first: int) -> None:
        """Delete the object if it exists."""
        with self._translate_store_errors(), suppress(FileNotFoundError):
            self._files.rm_file(self._path(at, first))

    def check_writable(self) -> None:
        """Raise UnavailableError when an object cannot be written or deleted."""
        path = f"{self._root}/.{secrets.token_hex(8)}.probe"
        with self._translate_store_errors():
            if not self._conditional_writes:
                self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(path, bytes(_PROBE_BYTES))
            self._files.rm_file(path)

    def _put_if_unchanged(self, path: str, data: bytes) -> None:
        """Write the object by one conditional request.

        The response to an earlier attempt may have been lost: on a conflict, an object with the same bytes counts as
        written.
        """
        # The lease alone would let a process that was paused replace a newer tail by an older one.
        known = self._tags.get(path)
        condition = _IF_ABSENT if known is None else {"IfMatch": known}
        try:
            response = self._files.pipe_file(path, data, chunksize=max(len(data), 1), **condition)
        except OSError as error:
            if not _is_conflict(error):
                raise
            if self._files.cat_file(path) != data:
                msg = f"found {path} replaced by another process, expected its tag {known}; only one archiver may write"
                raise LeaseLostError(msg) from error
            self._files.invalidate_cache(path)
            response = self._files.info(path)
        self._tags[path] = response["ETag"]

    def _path(self, at: TopicPartition, first: int) -> str:
        return f"{self._root}/{partition_folder(at)}/{file_name(first)}"

    @contextmanager
    def _translate_store_errors(self) -> Iterator[None]:
        """Raise any error of the store as UnavailableError, which is retried; each store has error types of its own."""
        try:
            yield
        except (NotFoundError, LeaseLostError):
            raise
        except Exception as error:
            msg = f"found the archive at {self._url} unavailable: {error}; check its address and rights"
            raise UnavailableError(msg) from error


def open_archive_files(url: str, *, on_step: ArchiveStepHook) -> ArchiveFiles:
    """Return files in a folder, or behind an fsspec address if the text has a scheme."""
    if "://" in url and not url.startswith("file://"):
        return RemoteArchiveFiles(url, on_step=on_step)
    return LocalArchiveFiles(Path(url.removeprefix("file://")), on_step=on_step)


def _not_found_error(path: str) -> NotFoundError:
    msg = f"found no file {path} in the archive; run `headrace registry verify`"
    return NotFoundError(msg)


def _is_conflict(error: BaseException | None) -> bool:
    """Return whether the store's error, or a cause of it, says that the condition of the request does not hold."""
    while error is not None:
        code = str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
        if code in _CONFLICTS:
            return True
        error = error.__cause__
    return False


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
