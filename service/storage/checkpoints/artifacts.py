"""Stores artifacts by their digest in a folder, or anywhere that fsspec reaches."""

import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec

from service.domain.registry.registry import CheckpointStep
from service.errors import NotFoundError, UnavailableError
from service.ports.artifacts import ArtifactStore

CheckpointStepHook = Callable[[CheckpointStep], None]


class DirectoryArtifacts:
    """Keeps one file for each digest; writes it aside, fsyncs and renames it, so that no name holds a partial file."""

    def __init__(self, folder: Path, *, on_step: CheckpointStepHook) -> None:
        self._folder = folder
        self._on_step = on_step

    def put(self, digest: str, data: bytes) -> None:
        """Store the bytes durably; raise UnavailableError when the folder cannot be written."""
        path = self._path(digest)
        temporary_path = path.with_suffix(f".{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write(temporary_path, data)
            temporary_path.rename(path)
            _sync_folder(path.parent)
        except OSError as error:
            with suppress(OSError):
                temporary_path.unlink()
            msg = f"found the artifacts at {self._folder} not writable: {error.strerror}; make room or check its rights"
            raise UnavailableError(msg) from error
        self._on_step(CheckpointStep.ARTIFACT_RENAMED)

    def get(self, digest: str) -> bytes:
        """Return the bytes; raise NotFoundError when there are none."""
        try:
            return self._path(digest).read_bytes()
        except FileNotFoundError as error:
            msg = f"found no artifact {digest[:12]} in {self._folder}; run `headrace registry verify`"
            raise NotFoundError(msg) from error

    def digests(self, *, older_than_s: float = 0.0) -> Sequence[str]:
        """Return the names of stored files; with an age, also unfinished files that dead processes left."""
        cutoff = time.time() - older_than_s
        found = [path for path in self._folder.glob("??/*") if older_than_s or "." not in path.name]
        return [path.name for path in found if _modified_at(path) <= cutoff]

    def delete(self, digest: str) -> None:
        """Delete the file if it exists."""
        self._path(digest).unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest

    def _write(self, path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            self._on_step(CheckpointStep.ARTIFACT_WRITTEN)
            os.fsync(file.fileno())
        self._on_step(CheckpointStep.ARTIFACT_SYNCED)


class FsspecArtifacts:
    """Stores the same behind any fsspec address (`s3://bucket/prefix`); object stores write whole objects only."""

    def __init__(self, url: str, *, on_step: CheckpointStepHook) -> None:
        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
        self._files, self._root = found
        self._on_step = on_step

    def put(self, digest: str, data: bytes) -> None:
        """Store the bytes durably, as the store understands it; raise UnavailableError when it cannot be written."""
        try:
            self._files.makedirs(f"{self._root}/{digest[:2]}", exist_ok=True)
            self._files.pipe_file(self._path(digest), data)
        except OSError as error:
            msg = f"found the artifacts at {self._root} not writable: {error}"
            raise UnavailableError(msg) from error
        self._on_step(CheckpointStep.ARTIFACT_RENAMED)

    def get(self, digest: str) -> bytes:
        """Return the bytes; raise NotFoundError when there are none."""
        try:
            data: bytes = self._files.cat_file(self._path(digest))
        except FileNotFoundError as error:
            msg = f"found no artifact {digest[:12]} in {self._root}; run `headrace registry verify`"
            raise NotFoundError(msg) from error
        return data

    def digests(self, *, older_than_s: float = 0.0) -> Sequence[str]:
        """Return the digests of all stored objects, or of those older than the age."""
        paths = self._files.find(self._root)
        if older_than_s:
            cutoff = datetime.now(UTC) - timedelta(seconds=older_than_s)
            paths = [path for path in paths if self._files.modified(path) <= cutoff]
        return [path.rsplit("/", 1)[-1] for path in paths]

    def delete(self, digest: str) -> None:
        """Delete the object if it exists."""
        if self._files.exists(self._path(digest)):
            self._files.rm_file(self._path(digest))

    def _path(self, digest: str) -> str:
        return f"{self._root}/{digest[:2]}/{digest}"


def open_artifacts(url: str, *, on_step: CheckpointStepHook) -> ArtifactStore:
    """Return a store in a folder, or behind an fsspec address if the text has a scheme."""
    if "://" in url and not url.startswith("file://"):
        return FsspecArtifacts(url, on_step=on_step)
    return DirectoryArtifacts(Path(url.removeprefix("file://")), on_step=on_step)


def _modified_at(path: Path) -> float:
    """Return the modification time, or infinity if another process renamed or deleted the file since it was listed."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
