"""Kafka sources and sinks through kafka-python and through librdkafka, with one set of settings and error messages.

Only `bootstrap/streams.py` imports it, by the configured driver's name; the drivers' private parts are in `python_internals.py`.
Begin with `python_source.py`; `errors.py` has the messages.
"""
