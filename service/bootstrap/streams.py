"""Opens readers and writers of the configured stream with the configured driver."""

import importlib
from typing import Any

from service.config import Settings
from service.errors import ConfigurationError
from service.ports.stream import Sink, Source
from service.stream.kafka.settings import KafkaSettings
from service.stream.log import source as log

DRIVERS = {
    "kafka-python": ("service.stream.kafka.python_source", "KafkaPython"),
    "librdkafka": ("service.stream.kafka.librdkafka_source", "Librdkafka"),
}


def open_source(settings: Settings, group: str) -> Source:
    """Return a reader of the configured stream for this consumer group."""
    stream = settings.stream
    if stream.kind == "log":
        return log.LogSource(stream.log.path)
    reader: Source = _driver(settings, "Source")(_kafka_settings(settings), group=f"headrace-{group}")
    return reader


def open_sink(settings: Settings) -> Sink:
    """Return a writer to the configured stream."""
    stream = settings.stream
    if stream.kind == "log":
        return log.LogSink(stream.log.path)
    writer: Sink = _driver(settings, "Sink")(_kafka_settings(settings))
    return writer


def _kafka_settings(settings: Settings) -> KafkaSettings:
    kafka = settings.stream.kafka
    password = kafka.sasl_password
    return KafkaSettings(
        bootstrap_servers=kafka.bootstrap_servers,
        security_protocol=kafka.security_protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_username=kafka.sasl_username,
        sasl_password=password.get_secret_value() if password else None,
        ssl_cafile=kafka.ssl_cafile,
        ssl_certfile=kafka.ssl_certfile,
        ssl_keyfile=kafka.ssl_keyfile,
        extra=kafka.options,
    )


def _driver(settings: Settings, what: str) -> Any:
    """Return the configured driver's class; import it here, because importing a driver takes a third of a second."""
    driver = settings.stream.kafka.driver
    module, prefix = DRIVERS[driver]
    try:
        return getattr(importlib.import_module(module), f"{prefix}{what}")
    except ImportError as error:
        msg = f"found no {error.name}, which driver {driver} needs; install `headrace[librdkafka]`"
        raise ConfigurationError(msg) from error
