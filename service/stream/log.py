"""The embedded log: a durable, ordered log of events in its own SQLite file."""

from service.stream.log_sink import LogSink
from service.stream.log_source import LogSource

__all__ = ["LogSink", "LogSource"]
