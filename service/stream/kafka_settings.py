"""How to reach a Kafka cluster, whichever driver does it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Setting: TypeAlias = str | int | float | bool


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Address and credentials; `extra` is passed to the chosen driver under its own names.

    Secrets never appear in the representation, `extra` included, since it may hold some.
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

    def for_kafka_python(self) -> dict[str, Setting]:
        """Under kafka-python's names."""
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
        """Under librdkafka's names."""
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
