"""The sections of the configuration file, apart from models."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from service.domain.specification.units import Duration, Size

LOOPBACK = ("127.0.0.1", "::1", "localhost")
DATABASES = ("sqlite:///", "postgresql+psycopg://")


class Section(BaseModel):
    """A section; refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StorageSettings(Section):
    """Where the registry, the artifacts, the archive and the signing key are."""

    url: str = "sqlite:///var/headrace.db"
    artifacts: str = "var/artifacts"
    archive: str | None = "var/archive"
    key_file: Path = Path("var/headrace.key")

    @field_validator("url")
    @classmethod
    def _names_a_database(cls, value: str) -> str:
        if not value.startswith(DATABASES):
            msg = f"found an address that begins {value.partition('/')[0]!r}, expected {' or '.join(DATABASES)}"
            raise ValueError(msg)
        return value


class EmbeddedLog(Section):
    """Path and retention (seconds) of the embedded log."""

    path: Path = Path("var/log.db")
    retention: Duration = 30 * 86400.0


class Kafka(Section):
    """Address of a Kafka cluster and how to authenticate to it."""

    bootstrap_servers: str = "127.0.0.1:9092"
    driver: Literal["kafka-python", "librdkafka"] = "kafka-python"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class StreamSettings(Section):
    """Which kind of stream is used, and where it is."""

    kind: Literal["log", "kafka"] = "log"
    log: EmbeddedLog = EmbeddedLog()
    kafka: Kafka = Kafka()


class LearnerSettings(Section):
    """The learner's own host and port for `/metrics`, `/healthz` and `/readyz`; port 0 chooses a free one."""

    host: str = "127.0.0.1"
    port: int = Field(default=9464, ge=0, le=65535)

    @model_validator(mode="after")
    def _loopback(self) -> "LearnerSettings":
        if self.host not in LOOPBACK:
            msg = f"found host {self.host!r}, expected a loopback address: no authentication is built yet"
            raise ValueError(msg)
        return self


class ArchiveSettings(Section):
    """How topics are archived, for how long, and the archiver's own port; port 0 chooses a free one."""

    range: int = Field(default=65_536, ge=1, le=10_000_000)
    every: Duration = 10.0
    raw: Literal["unfit", "always"] = "unfit"
    keep: Duration | None = None
    max_bytes: Size | None = None
    port: int = Field(default=9465, ge=0, le=65535)


class TrainerSettings(Section):
    """How many jobs and challengers run at a time, how much of their output is kept, and the trainer's port."""

    jobs: int = Field(default=1, ge=1, le=64)
    challengers: int = Field(default=2, ge=0, le=64)
    challenger_memory: Size = 2_000_000_000
    challenger_patience: Duration = 300.0
    log_bytes: Size = 10_000_000
    port: int = Field(default=9466, ge=0, le=65535)


class Tls(Section):
    """Paths of a certificate and its key, as PEM files."""

    certfile: Path
    keyfile: Path

    def relative_to(self, folder: Path) -> "Tls":
        """Return it with relative paths resolved against the folder."""
        return Tls(certfile=folder / self.certfile, keyfile=folder / self.keyfile)


class ServerSettings(Section):
    """Where predictions are served, and how many at once; port 0 chooses a free one.

    `timeout` is how many seconds a client may take to send a request; `concurrency` is how many requests a worker
    serves at once; `rate` is how many requests a second a worker accepts for each token. `inquiry_timeout` (seconds)
    and `inquiry_memory` (bytes) limit queries that run in a process of their own.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8420, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=256)
    max_body: Size = 5_000_000
    timeout: Duration = 10.0
    concurrency: int = Field(default=64, ge=1, le=100_000)
    access_log: bool = True
    tls: Tls | None = None
    auth: Literal["none", "tokens"] = "none"
    open_predictions: bool = False
    rate: float | None = Field(default=None, gt=0)
    inquiry_timeout: Duration = 300.0
    inquiry_memory: Size = 2_000_000_000

    @model_validator(mode="after")
    def _asks_who_it_is(self) -> "ServerSettings":
        if self.host not in LOOPBACK and self.auth == "none":
            msg = (
                f"found host {self.host!r} and auth none, expected a loopback address, or auth: tokens, so that "
                "whoever reaches it must show one; `headrace token create` makes them"
            )
            raise ValueError(msg)
        return self


class LeaseSettings(Section):
    """How many seconds a silent process keeps its right to write."""

    ttl: Duration = 10.0


class LoggingSettings(Section):
    """The format and level of what is printed."""

    format: Literal["json", "console"] = "console"
    level: Literal["debug", "info", "warning", "error"] = "info"
