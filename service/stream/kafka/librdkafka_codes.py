"""Codes of the errors that librdkafka itself detects, which confluent-kafka names with a leading underscore.

The underscore only sets them apart from the codes that a broker sends; these errors have no other names.
"""

from confluent_kafka import KafkaError

ALL_BROKERS_DOWN: int = KafkaError._ALL_BROKERS_DOWN
AUTHENTICATION: int = KafkaError._AUTHENTICATION
AUTO_OFFSET_RESET: int = KafkaError._AUTO_OFFSET_RESET
INVALID_ARGUMENT: int = KafkaError._INVALID_ARG
LOG_TRUNCATION: int = KafkaError._LOG_TRUNCATION
PARTITION_END: int = KafkaError._PARTITION_EOF
TLS: int = KafkaError._SSL
UNKNOWN_TOPIC: int = KafkaError._UNKNOWN_TOPIC
UNSUPPORTED_FEATURE: int = KafkaError._UNSUPPORTED_FEATURE
