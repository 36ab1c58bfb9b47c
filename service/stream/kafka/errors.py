"""Builds the errors that Headrace raises when a Kafka driver fails, whichever driver it is."""

import re
from collections.abc import Sequence

from service.errors import ConfigurationError, NotFoundError, PastEndError, RecordTooLargeError, UnavailableError
from service.stream.kafka.settings import KafkaSettings

REQUEST_TIMEOUT_S = 10.0
"""Seconds that one request to the broker may take before it counts as unreachable."""

MAX_SILENCE_S = 5.0
"""Seconds without any record after which the broker is asked whether it is there."""

MAX_MESSAGE_BYTES_SETTING = "max.message.bytes"
"""A setting of a topic, or of the broker for topics that have none; a batch of one record must fit it."""

_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")


def unavailable_error(settings: KafkaSettings, error: object) -> UnavailableError:
    """Return the error for a broker that cannot be reached, or cannot serve a request now."""
    return UnavailableError(
        f"found no answer from Kafka at {settings.bootstrap_servers} ({settings.security_protocol}): {error}; "
        f"check it with `headrace doctor`"
    )


def misconfigured_error(settings: KafkaSettings, error: object) -> ConfigurationError:
    """Return the error for settings that the broker or the driver refuses; a retry does not help."""
    return ConfigurationError(
        f"stream.kafka: found settings that do not work with {settings.bootstrap_servers} "
        f"({settings.security_protocol}): {error}; check addresses, credentials, certificates and `options:`"
    )


def no_topic_error(settings: KafkaSettings, topic: str) -> NotFoundError:
    """Return the error for a topic that does not exist; reading or appending must not create it."""
    return NotFoundError(
        f"found no topic {topic} at {settings.bootstrap_servers}; create it with Kafka's own tools or "
        f"`headrace stream publish`, or check the topic names in the configuration"
    )


def codec_missing_error(settings: KafkaSettings, error: object) -> ConfigurationError:
    """Return the error for records compressed with a codec that is not installed."""
    return ConfigurationError(
        f"found records at {settings.bootstrap_servers} that this driver cannot decompress: {error}; install the "
        f"codec (kafka-python[lz4], [snappy] or [zstd]), or choose `driver: librdkafka`, which has them all"
    )


def log_truncated_error(error: object) -> PastEndError:
    """Return the error for a broker that lost records which were already read, and continued its log without them."""
    return PastEndError(
        f"found the log truncated below the position and written anew ({error}), expected the records that were "
        f"read to stay; an unclean leader election does this. Roll the model back, or start over with --fresh"
    )


def require_topic_name(settings: KafkaSettings, topic: str) -> None:
    """Raise NotFoundError for a name that no Kafka topic can have."""
    if not _TOPIC_NAME.fullmatch(topic):
        raise no_topic_error(settings, topic)


def not_acknowledged_error(topic: str, error: object) -> UnavailableError:
    """Return the error for an append of which some records may be stored and some not."""
    return UnavailableError(
        f"found the append to {topic} not acknowledged: {error}; publish again, since repeated ids are learned once"
    )


def too_large_error(topic: str, values: Sequence[bytes], error: object, *, limit: int | None) -> RecordTooLargeError:
    """Return the error for a record that is too large; a retry does not help.

    `limit` is the topic's limit in bytes, None when it is unknown.
    """
    allowed = "" if limit is None else f", {limit} bytes with key and headers"
    return RecordTooLargeError(
        f"found a record of {max(map(len, values))} bytes for {topic}, which is too large for Kafka ({error}), "
        f"expected at most what {MAX_MESSAGE_BYTES_SETTING} of the topic allows{allowed}; send less in one record, "
        f"or raise it with Kafka's own tools"
    )
