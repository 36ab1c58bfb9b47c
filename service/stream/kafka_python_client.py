"""Making kafka-python's clients, and saying in Headrace's words what they raise."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kafka import errors as kafka
from kafka.net.compat import KafkaNetClient

from service.errors import HeadraceError
from service.stream.kafka_errors import diverged, misconfigured, unavailable, unreadable
from service.stream.kafka_settings import KafkaSettings

_GREETING_MS = 3000
_WILL_NOT_PASS = (
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
_KINDS: tuple[tuple[Any, Callable[[KafkaSettings, object], HeadraceError]], ...] = (
    (kafka.UnsupportedCodecError, unreadable),
    (_WILL_NOT_PASS, misconfigured),
    (kafka.LogTruncationError, lambda _settings, error: diverged(error)),
    (kafka.KafkaError, unavailable),
    ((OSError, LookupError, RuntimeError), unavailable),
)


@contextmanager
def translated(settings: KafkaSettings) -> Iterator[None]:
    """What the driver raises as Headrace's own errors; a lost partition shows in it as a LookupError."""
    try:
        yield
    except HeadraceError:
        raise
    except Exception as error:
        for kinds, translate in _KINDS:
            if isinstance(error, kinds):
                raise translate(settings, error) from error
        raise


def opened(make: Callable[..., Any], settings: KafkaSettings, **given: Any) -> Any:
    """A client of kafka-python; where it cannot be made, the thread it has started ends."""
    started: list[Any] = []

    def start(**options: Any) -> Any:
        started.append(KafkaNetClient(**options))
        started[-1].cluster.config["allow_auto_create_topics"] = False  # kafka-python 3.0 drops the option
        return started[-1]

    try:
        return make(kafka_client=start, **given)
    except (ValueError, TypeError, AssertionError) as error:
        _close(started)
        raise misconfigured(settings, error) from error
    except kafka.KafkaTimeoutError as error:
        cause = _cause(started[-1])
        _close(started)
        raise cause or error from error
    except BaseException:
        _close(started)
        raise


def _cause(client: Any) -> Exception | None:
    """Why a client could not start, which the driver itself only logs: one more attempt says so."""
    client._manager._backoff.clear()
    try:
        client._net.run(_greet, client._manager)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the cause
        return error
    return None


async def _greet(manager: Any) -> None:
    broker = manager.cluster.bootstrap_brokers()[0]
    connection = manager.get_connection(broker.node_id, timeout_ms=_GREETING_MS, refresh_metadata_on_err=False)
    try:
        await manager.wait_for(connection.init_future, _GREETING_MS)
    except kafka.KafkaConnectionError as error:
        if connection.broker_version_data is None or not manager.config["security_protocol"].startswith("SASL"):
            raise
        msg = "the broker closed the connection instead of accepting the credentials"
        raise kafka.SaslAuthenticationFailedError(msg) from error


def _close(started: list[Any]) -> None:
    for client in started:
        client.close()
