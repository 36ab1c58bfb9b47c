"""Opens kafka-python's clients, and translates their errors to Headrace's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kafka import errors as kafka

from service.errors import HeadraceError
from service.stream.kafka import python_internals
from service.stream.kafka.errors import codec_missing_error, log_truncated_error, misconfigured_error, unavailable_error
from service.stream.kafka.settings import KafkaSettings

_PERMANENT_ERRORS = (
    kafka.KafkaConfigurationError,
    kafka.AuthorizationError,
    kafka.SaslAuthenticationFailedError,
    kafka.UnsupportedSaslMechanismError,
    kafka.IllegalSaslStateError,
    kafka.IncompatibleBrokerVersion,
    kafka.UnrecognizedBrokerVersion,
    kafka.MessageSizeTooLargeError,
    kafka.InvalidReplicationFactorError,
    kafka.PolicyViolationError,
)
_TRANSLATIONS: tuple[tuple[Any, Callable[[KafkaSettings, object], HeadraceError]], ...] = (
    (kafka.UnsupportedCodecError, codec_missing_error),
    (_PERMANENT_ERRORS, misconfigured_error),
    (kafka.LogTruncationError, lambda _settings, error: log_truncated_error(error)),
    (kafka.KafkaError, unavailable_error),
    ((OSError, LookupError, RuntimeError), unavailable_error),
)


@contextmanager
def translate_kafka_python_errors(settings: KafkaSettings) -> Iterator[None]:
    """Raise the driver's errors as Headrace's own; a lost partition appears as a LookupError in the driver."""
    try:
        yield
    except HeadraceError:
        raise
    except Exception as error:
        for kinds, translate in _TRANSLATIONS:
            if isinstance(error, kinds):
                raise translate(settings, error) from error
        raise


def open_kafka_python_client(make: Callable[..., Any], settings: KafkaSettings, **given: Any) -> Any:
    """Return a client of kafka-python; when it cannot be made, end the thread that it has started."""
    started: list[Any] = []

    def start(**options: Any) -> Any:
        started.append(python_internals.network_client(options))
        return started[-1]

    try:
        return make(kafka_client=start, **given)
    except (ValueError, TypeError, AssertionError) as error:
        _close_clients(started)
        raise misconfigured_error(settings, error) from error
    except kafka.KafkaTimeoutError as error:
        cause = python_internals.cause(started[-1])
        _close_clients(started)
        raise cause or error from error
    except BaseException:
        _close_clients(started)
        raise


def _close_clients(started: list[Any]) -> None:
    for client in started:
        client.close()
