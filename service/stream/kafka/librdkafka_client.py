"""Opens librdkafka's clients, and translates their errors to Headrace's."""

from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from service.errors import HeadraceError
from service.stream.kafka import librdkafka_codes as codes
from service.stream.kafka.errors import misconfigured_error, unavailable_error
from service.stream.kafka.settings import KafkaSettings

_PERMANENT_ERRORS = frozenset(
    {
        codes.AUTHENTICATION,
        codes.TLS,
        codes.INVALID_ARGUMENT,
        codes.UNSUPPORTED_FEATURE,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.POLICY_VIOLATION,
    }
)


class DriverErrors:
    """Remembers the newest error that the driver reports aside, which says why a broker cannot be reached."""

    def __init__(self) -> None:
        self._newest: KafkaError | None = None

    def note(self, error: KafkaError) -> None:
        """Remember the error; the driver's `error_cb`. That all brokers are down is skipped, because it is no cause."""
        if error.code() != codes.ALL_BROKERS_DOWN:
            self._newest = error

    def clear(self) -> None:
        """Forget the error, since the broker has responded."""
        self._newest = None

    def translate(self, settings: KafkaSettings, error: KafkaException) -> HeadraceError:
        """Return Headrace's error for the driver's, by its cause if one is known."""
        found = error.args[0]
        codes = {found.code(), self._newest.code() if self._newest else None}
        translate = misconfigured_error if codes & _PERMANENT_ERRORS else unavailable_error
        return translate(settings, f"{found.str()}; {self._newest.str()}" if self._newest else found.str())


def open_librdkafka_client(make: Callable[..., Any], settings: KafkaSettings, config: Mapping[str, Any]) -> Any:
    """Return a client of librdkafka; raise ConfigurationError when it refuses its settings."""
    try:
        return make(config)
    except KafkaException as error:
        raise misconfigured_error(settings, error.args[0].str()) from error
    except (TypeError, ValueError) as error:
        raise misconfigured_error(settings, error) from error
