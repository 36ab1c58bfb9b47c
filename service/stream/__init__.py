"""Streams behind the ports `Source` and `Sink`: Kafka by two drivers, and the embedded log."""
