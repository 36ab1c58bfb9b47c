"""Content-addressed artifacts in a folder and behind fsspec."""

import errno
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.domain.registry.registry import CheckpointStep
from service.errors import NotFoundError, UnavailableError
from service.ports.artifacts import ArtifactStore
from service.storage.checkpoints.artifacts import DirectoryArtifacts, FsspecArtifacts, open_artifacts

DIGEST = "ab" * 32
OTHER = "cd" * 32


def ignore(step: CheckpointStep) -> None:
    """Ignore the step."""


@pytest.fixture(params=["folder", "file", "memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """Return a folder, the same by its address, and fsspec over memory and over files."""
    addresses = {
        "folder": str(tmp_path / "a"),
        "file": f"file://{tmp_path}/a",
        "memory": f"memory://{uuid.uuid4().hex}/prefix",
        "local": f"local://{tmp_path}/a",
    }
    return open_artifacts(addresses[request.param], on_step=ignore)


def test_what_an_address_means(tmp_path: Path) -> None:
    """A path or a file address is a folder, any other scheme is fsspec's."""
    assert isinstance(open_artifacts(str(tmp_path), on_step=ignore), DirectoryArtifacts)
    assert isinstance(open_artifacts(f"file://{tmp_path}", on_step=ignore), DirectoryArtifacts)
    assert isinstance(open_artifacts("memory://x", on_step=ignore), FsspecArtifacts)


def test_put_and_get(store: ArtifactStore) -> None:
    """Bytes come back; storing them twice is one artifact, and repairs a damaged one."""
    store.put(DIGEST, b"\x00\xffdata")
    store.put(OTHER, b"")
    store.put(DIGEST, b"\x00\xffdata")
    assert store.get(DIGEST) == b"\x00\xffdata"
    assert store.get(OTHER) == b""
    assert sorted(store.digests()) == [DIGEST, OTHER]
    store.put(OTHER, b"repaired")
    assert store.get(OTHER) == b"repaired"


def test_what_is_missing(store: ArtifactStore) -> None:
    """A missing artifact is not found, and the message says what to do."""
    assert list(store.digests()) == []
    with pytest.raises(NotFoundError, match="headrace registry verify"):
        store.get(DIGEST)


def test_deleting(store: ArtifactStore) -> None:
    """A deleted artifact is gone; deleting it again is fine."""
    store.put(DIGEST, b"a")
    store.delete(DIGEST)
    store.delete(DIGEST)
    assert list(store.digests()) == []


def test_age(store: ArtifactStore) -> None:
    """Only artifacts that are old enough are listed."""
    store.put(DIGEST, b"a")
    assert list(store.digests(older_than_s=60)) == []
    time.sleep(0.1)
    assert list(store.digests(older_than_s=0.05)) == [DIGEST]


class TestFolder:
    """Durability in a local folder."""

    def test_a_name_is_only_ever_whole(self, tmp_path: Path) -> None:
        """No file has the artifact's name before the rename, and each step finds the file as far as it says."""
        seen: list[tuple[CheckpointStep, bool, list[int]]] = []

        def look(step: CheckpointStep) -> None:
            parts = [path.stat().st_size for path in tmp_path.glob("??/*.part")]
            seen.append((step, (tmp_path / DIGEST[:2] / DIGEST).exists(), parts))

        DirectoryArtifacts(tmp_path, on_step=look).put(DIGEST, b"x" * 1000)
        assert seen == [
            (CheckpointStep.ARTIFACT_WRITTEN, False, [1000]),
            (CheckpointStep.ARTIFACT_SYNCED, False, [1000]),
            (CheckpointStep.ARTIFACT_RENAMED, True, []),
        ]

    def test_readers_never_see_half(self, tmp_path: Path) -> None:
        """While an artifact is stored over and over, every reader finds all of it."""
        store = DirectoryArtifacts(tmp_path, on_step=ignore)
        data = os.urandom(1 << 20)
        store.put(DIGEST, data)
        stop = threading.Event()

        def rewrite() -> None:
            while not stop.is_set():
                store.put(DIGEST, data)

        writer = threading.Thread(target=rewrite)
        writer.start()
        try:
            for _ in range(200):
                assert store.get(DIGEST) == data
                store.digests(older_than_s=0.001)
        finally:
            stop.set()
            writer.join()

    def test_fsync_comes_before_rename(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The file is synced before it is renamed, and its folder afterwards."""
        acts: list[str] = []
        sync, rename = os.fsync, Path.rename

        def synced(descriptor: int) -> None:
            acts.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
            sync(descriptor)

        def renamed(path: Path, target: Path) -> Path:
            acts.append("rename")
            return rename(path, target)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(Path, "rename", renamed)
        DirectoryArtifacts(tmp_path, on_step=ignore).put(DIGEST, b"a")
        assert acts == ["file", "rename", "folder"]

    def test_what_the_dead_left(self, tmp_path: Path) -> None:
        """An unfinished file is no artifact; once old it is listed, and can be deleted."""
        store = DirectoryArtifacts(tmp_path, on_step=ignore)

        def die(step: CheckpointStep) -> None:
            raise KeyboardInterrupt(step)

        with pytest.raises(KeyboardInterrupt):
            DirectoryArtifacts(tmp_path, on_step=die).put(DIGEST, b"half")
        assert list(store.digests()) == []
        time.sleep(0.05)
        (left,) = store.digests(older_than_s=0.01)
        store.delete(left)
        assert not list(tmp_path.glob("??/*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system with room for 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no small tmpfs can be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    """A full disk raises UnavailableError and leaves nothing partial; with room it works again."""
    store = DirectoryArtifacts(small_disk, on_step=ignore)
    store.put(DIGEST, b"a" * 30_000)
    with pytest.raises(UnavailableError, match="make room") as refused:
        store.put(OTHER, b"b" * 60_000)
    assert isinstance(refused.value.__cause__, OSError)
    assert refused.value.__cause__.errno == errno.ENOSPC
    assert [path.name for path in small_disk.glob("??/*")] == [DIGEST]
    store.delete(DIGEST)
    store.put(OTHER, b"b" * 50_000)
    assert store.get(OTHER) == b"b" * 50_000


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    """If nothing can be written, the message names the place."""
    (tmp_path / "a").write_text("not a folder")
    with pytest.raises(UnavailableError, match="not writable"):
        DirectoryArtifacts(tmp_path / "a", on_step=ignore).put(DIGEST, b"a")
    with pytest.raises(UnavailableError, match="not writable"):
        open_artifacts(f"local://{tmp_path}/a", on_step=ignore).put(DIGEST, b"a")
