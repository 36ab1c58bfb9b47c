"""The settings to reach a Kafka cluster, whichever driver does it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from service.errors import ConfigurationError

Setting: TypeAlias = str | int | float | bool

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER")
_BY_PASSWORD = frozenset({"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"})


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Holds address and credentials; `extra` is passed to the chosen driver under its own names.

    The representation shows no secrets, and not `extra`, which may hold some.
    """

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    extra: Mapping[str, Setting] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Raise ConfigurationError for settings that a driver would misread, or answer only with silence."""
        for key, found, expected in self._problems():
            msg = f"stream.kafka.{key}: found {found}, expected {expected}"
            raise ConfigurationError(msg)

    def _problems(self) -> Iterator[tuple[str, object, str]]:
        if self.security_protocol not in PROTOCOLS:
            yield "security_protocol", self.security_protocol, f"one of {', '.join(PROTOCOLS)}"
        if self.security_protocol.startswith("SASL_") and self.sasl_mechanism not in MECHANISMS:
            yield "sasl_mechanism", self.sasl_mechanism, f"one of {', '.join(MECHANISMS)}"
        if self.sasl_mechanism in _BY_PASSWORD and not (self.sasl_username and self.sasl_password):
            yield "sasl_username or sasl_password", "nothing", f"both, for {self.sasl_mechanism}"
        for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
            path = getattr(self, name)
            if path is not None and not Path(path).is_file():
                yield name, path, "a file that exists"

    def for_kafka_python(self) -> dict[str, Setting]:
        """Return the settings under kafka-python's names."""
        given = {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": self.security_protocol,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password,
            "ssl_cafile": self.ssl_cafile,
            "ssl_certfile": self.ssl_certfile,
            "ssl_keyfile": self.ssl_keyfile,
        }
        return {**{key: value for key, value in given.items() if value is not None}, **self.extra}

    def for_librdkafka(self) -> dict[str, Setting]:
        """Return the settings under librdkafka's names."""
        given = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol,
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.sasl_username,
            "sasl.password": self.sasl_password,
            "ssl.ca.location": self.ssl_cafile,
            "ssl.certificate.location": self.ssl_certfile,
            "ssl.key.location": self.ssl_keyfile,
        }
        return {**{key: value for key, value in given.items() if value is not None}, **self.extra}
