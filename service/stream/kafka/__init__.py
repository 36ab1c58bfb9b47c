"""Kafka sources and sinks through kafka-python and through librdkafka, with shared settings and error messages.

Only `bootstrap/streams.py` imports it, by the configured driver's name; the use of kafka-python's private parts is in
`python_internals.py`. Begin with `python_source.py`; `errors.py` has the messages.
"""
