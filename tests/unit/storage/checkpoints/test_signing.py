"""Sealed states, and their key."""

import hashlib
import hmac
import stat
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.stream.events import TopicPartition
from service.domain.stream.position import Position
from service.errors import ArtifactError, ConfigurationError, OtherReleaseError, TamperedError, UnsignedError
from service.storage.checkpoints.signing import FORMAT, MAGIC, Signer, create_key, load_key

KEY = b"k" * 32
RIVER = "0.26.1"
POSITION = Position({TopicPartition("t", 0): 7})
SIGNER = Signer(KEY, environment={"river": "0.26.1"})


def sealed(payload: bytes = b"state " * 20) -> bytes:
    """Return a valid sealed artifact."""
    return SIGNER.seal(payload, model="phishing", lineage="3", position=POSITION)


@given(st.binary(max_size=2000))
def test_round_trip(payload: bytes) -> None:
    """A sealed payload comes back, with what the signature covers beside it."""
    opened = SIGNER.open(sealed(payload))
    assert opened.payload == payload
    assert opened.environment == {"river": "0.26.1"}
    assert opened.header["model"] == "phishing"
    assert opened.header["lineage"] == "3"
    assert Position.from_json(opened.header["position"]) == POSITION


@settings(max_examples=300)
@given(st.integers(0, len(sealed()) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(at: int, change: int) -> None:
    """Whichever byte is changed, in whatever way, the artifact is not opened, and the message says what to do."""
    data = bytearray(sealed())
    data[at] ^= change
    with pytest.raises(ArtifactError, match="headrace registry verify"):
        SIGNER.open(bytes(data))


@given(st.integers(0, len(sealed()) - 1))
def test_a_truncated_artifact_is_refused(length: int) -> None:
    """A truncated artifact is refused, however much is missing."""
    with pytest.raises(ArtifactError, match="headrace registry verify"):
        SIGNER.open(sealed()[:length])


@given(st.binary(min_size=1, max_size=20))
def test_an_extended_artifact_is_refused(more: bytes) -> None:
    """An artifact with appended bytes is refused."""
    with pytest.raises(TamperedError):
        SIGNER.open(sealed() + more)


@given(st.binary(max_size=300))
def test_unsigned_bytes_are_refused(data: bytes) -> None:
    """Bytes without a signature, with the right beginning or without, are not opened."""
    with pytest.raises(UnsignedError if len(data) < 36 else ArtifactError):
        SIGNER.open(MAGIC + data)
    if not data.startswith(MAGIC):
        with pytest.raises(UnsignedError, match="without a signature"):
            SIGNER.open(data)


def test_another_key_is_refused() -> None:
    """What another key has sealed is not opened, and the message says that this may be why."""
    other = Signer(b"o" * 32).seal(b"x", model="phishing", lineage="3", position=POSITION)
    with pytest.raises(TamperedError, match="another key"):
        SIGNER.open(other)


def with_header(header: Any, body: bytes) -> bytes:
    """Return an artifact that another release could have sealed with the same key."""
    packed = msgspec.msgpack.encode(header)
    whole = len(packed).to_bytes(4, "big") + packed + body
    return MAGIC + hmac.digest(KEY, whole, "sha256") + whole


def test_the_first_format_is_read() -> None:
    """An artifact without a format number is of format 1, whose `environment` is the packages' versions."""
    header = {"model": "phishing", "lineage": "3", "position": POSITION.to_json(), "environment": {"river": "0.26.1"}}
    opened = SIGNER.open(with_header(header, zlib.compress(b"state")))
    assert (opened.payload, opened.environment) == (b"state", {"river": "0.26.1"})


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ({"format": FORMAT + 1}, zlib.compress(b"state")),
        ({"format": "later"}, zlib.compress(b"state")),
        ({"format": 0}, zlib.compress(b"state")),
        ({"format": None}, zlib.compress(b"state")),
        ({"format": [1]}, zlib.compress(b"state")),
        ({"format": FORMAT}, b"compressed in another way"),
        (["another", "header"], zlib.compress(b"state")),
    ],
)
def test_another_releases_format_is_not_taken_for_spoilt(header: Any, body: bytes) -> None:
    """An artifact with a good signature and an unknown format is said to be another release's, not corrupted."""
    with pytest.raises(OtherReleaseError, match="another release"):
        SIGNER.open(with_header(header, body))


def test_releases_that_know_no_format_refuse_this_one() -> None:
    """Releases that know only format 1 compare the river version in `environment`, so no real one may equal it."""
    said = SIGNER.open(sealed()).header["environment"]["river"]
    assert said.split(".")[:2] != RIVER.split(".")[:2]
    assert "newer Headrace" in said


def test_digest() -> None:
    """The digest is SHA-256 of the whole container."""
    assert SIGNER.digest(sealed()) == hashlib.sha256(sealed()).hexdigest()


def test_a_new_key(tmp_path: Path) -> None:
    """A key is random, readable by its owner only, and never overwritten."""
    first, second = tmp_path / "deep" / "key", tmp_path / "other"
    create_key(first)
    create_key(second)
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    key = load_key(first)
    assert len(key) == 32
    assert key != load_key(second)
    create_key(first)
    assert load_key(first) == key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o777, 0o601])
def test_a_key_that_others_can_reach(tmp_path: Path, mode: int) -> None:
    """A key with any right for others is refused, with the command that repairs it."""
    path = tmp_path / "key"
    create_key(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"mode {mode:o}.*chmod 600"):
        load_key(path)
    path.chmod(0o400)
    assert len(load_key(path)) == 32


@pytest.mark.parametrize("content", ["", "no key", "ab" * 31, "abc", "é" * 64])
def test_what_is_no_key(tmp_path: Path, content: str) -> None:
    """A file without a key of 32 bytes is refused."""
    path = tmp_path / "key"
    path.write_text(content, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="key"):
        load_key(path)


def test_a_missing_key(tmp_path: Path) -> None:
    """A missing key is reported with the command that makes one."""
    with pytest.raises(ConfigurationError, match="headrace init --keep"):
        load_key(tmp_path / "key")
