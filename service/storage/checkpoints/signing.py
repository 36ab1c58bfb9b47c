"""Sealed states: compressed, and covered by an HMAC with their format, model, lineage and position.

The magic bytes never change: bytes that begin otherwise were not sealed by any release. What may change is the format
in the header, which the signature covers. Format 1 has no number there, and its `environment` holds the versions of
packages. Releases that know only format 1 fall back from an artifact they cannot read, but not from one of another
river. So from format 2 on `environment` names a river version that nobody has, and the versions are under `packages`.
"""

import hashlib
import hmac
import os
import secrets
import stat
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from service.domain.stream.position import Position
from service.errors import ConfigurationError, OtherReleaseError, TamperedError, UnsignedError

MAGIC = b"HRA1"
MAC_BYTES = 32
FORMAT = 2
OLD_READERS = {"river": f"of a newer Headrace (artifact format {FORMAT})"}
HELP = "run `headrace registry verify`; a version whose artifact is lost can be rolled back to another"


@dataclass(frozen=True, slots=True)
class OpenedArtifact:
    """Header and payload of an artifact whose signature is valid."""

    header: dict[str, Any]
    payload: bytes

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the package versions where the artifact was sealed."""
        found: Mapping[str, str] = self.header.get("packages", self.header.get("environment", {}))
        return found


class Signer:
    """Implements `ports.artifacts.Sealer`: seals with a key, and opens only what that key has sealed."""

    def __init__(self, key: bytes, *, environment: Mapping[str, str] | None = None) -> None:
        self._key = key
        self._environment = dict(environment or {})

    def seal(self, payload: bytes, *, model: str, lineage: str, position: Position) -> bytes:
        """Return magic, MAC, header length, header and compressed payload."""
        header = msgspec.msgpack.encode(
            {
                "format": FORMAT,
                "model": model,
                "lineage": lineage,
                "position": position.to_json(),
                "packages": self._environment,
                "environment": OLD_READERS,
            }
        )
        body = len(header).to_bytes(4, "big") + header + zlib.compress(payload, 1)
        return MAGIC + self._mac(body) + body

    def open(self, sealed: bytes) -> OpenedArtifact:
        """Return header and payload of a sealed artifact.

        Raise UnsignedError without a signature, TamperedError when it does not hold, and OtherReleaseError when the
        format is unknown. Nothing is decoded before the signature is checked.
        """
        if not sealed.startswith(MAGIC) or len(sealed) < len(MAGIC) + MAC_BYTES + 4:
            msg = f"found an artifact of {len(sealed)} bytes without a signature, expected one sealed here; {HELP}"
            raise UnsignedError(msg)
        mac, body = sealed[len(MAGIC) : len(MAGIC) + MAC_BYTES], sealed[len(MAGIC) + MAC_BYTES :]
        if not hmac.compare_digest(mac, self._mac(body)):
            msg = (
                "found an artifact whose signature does not hold: it was altered, or sealed with another key than "
                f"storage.key_file; {HELP}"
            )
            raise TamperedError(msg)
        return _unpacked(body)

    def digest(self, sealed: bytes) -> str:
        """Return the SHA-256 of the sealed bytes in hexadecimal."""
        return hashlib.sha256(sealed).hexdigest()

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")


def _unpacked(body: bytes) -> OpenedArtifact:
    """Return header and payload; bytes with a good signature that cannot be read were sealed by another release."""
    length = int.from_bytes(body[:4], "big")
    try:
        header = msgspec.msgpack.decode(body[4 : 4 + length], type=dict[str, Any])
        found = header.get("format", 1)
        if found in range(1, FORMAT + 1):
            return OpenedArtifact(header, zlib.decompress(body[4 + length :]))
    except (msgspec.DecodeError, zlib.error) as error:
        found = f"that cannot be read ({error})"
    msg = (
        f"found an artifact of format {found}, expected 1 to {FORMAT}: another release of Headrace sealed it. Start "
        "that release again, or upgrade this one; `headrace registry verify` lists all of them"
    )
    raise OtherReleaseError(msg)


def create_key(path: Path) -> None:
    """Write a new random key that only its owner can read; keep an existing one."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32) + "\n")


def load_key(path: Path) -> bytes:
    """Return the key; raise ConfigurationError when it is missing, readable by others, or malformed."""
    if not path.exists():
        msg = f"found no key at {path} (storage.key_file), expected one; run `headrace init --keep` to make it"
        raise ConfigurationError(msg)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        msg = f"found the key {path} readable by others (mode {mode:o}), expected 600; run `chmod 600 {path}`"
        raise ConfigurationError(msg)
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError as error:
        msg = f"found no hexadecimal key in {path} (storage.key_file); restore it from a backup"
        raise ConfigurationError(msg) from error
    if len(key) < MAC_BYTES:
        msg = f"found a key of {len(key)} bytes in {path}, expected at least {MAC_BYTES}"
        raise ConfigurationError(msg)
    return key
