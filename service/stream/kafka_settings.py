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
