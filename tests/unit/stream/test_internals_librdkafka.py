"""The errors that librdkafka itself detects have the names and numbers that `librdkafka_codes` gives them."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from service.stream.kafka import librdkafka_codes as codes
from tests.internals import changed

NUMBERS = {
    "ALL_BROKERS_DOWN": -187,
    "AUTHENTICATION": -169,
    "AUTO_OFFSET_RESET": -140,
    "INVALID_ARGUMENT": -186,
    "LOG_TRUNCATION": -139,
    "PARTITION_END": -191,
    "TLS": -181,
    "UNKNOWN_TOPIC": -188,
    "UNSUPPORTED_FEATURE": -165,
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_code_has_librdkafkas_number(name: str) -> None:
    """Librdkafka's header has the same number, and an error made from it has the name."""
    assert getattr(codes, name) == NUMBERS[name], changed("confluent-kafka", module=codes)
    assert KafkaError(NUMBERS[name]).code() == NUMBERS[name], changed("confluent-kafka", module=codes)


def test_every_code_is_looked_at() -> None:
    """Every code of the module is checked here."""
    assert {name for name in vars(codes) if name.isupper()} == NUMBERS.keys()


def test_an_exception_holds_its_error() -> None:
    """The first argument of an exception is the error, with its code."""
    error = KafkaException(KafkaError(NUMBERS["TLS"])).args[0]
    assert error.code() == codes.TLS, changed("confluent-kafka", module=codes)
