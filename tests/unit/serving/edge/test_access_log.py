"""The access log takes lines whether they are written or not."""

import io
import sys
import time

import pytest
from structlog.testing import capture_logs

from service.serving.edge import access_log
from service.serving.edge.access_log import AccessLog, AccessLogEntry


def line(number: int) -> AccessLogEntry:
    """Return the log entry of a request."""
    return AccessLogEntry(1_700_000_000.0, b"id-%d" % number, "127.0.0.1", "POST", "/invocations", 200, 0.001)


def test_lines_beyond_the_measure_are_lost_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing is written a bounded number waits; how many were lost is logged when writing resumes."""
    monkeypatch.setattr(access_log, "MAX_WAITING_LINES", 100)
    found, log = io.StringIO(), AccessLog(as_json=True)
    for number in range(250):
        log.append(line(number))
    monkeypatch.setattr(sys, "stderr", found)
    with capture_logs() as told, log.writing():
        time.sleep(0)
    assert found.getvalue().count('"event":"request"') == 100
    assert [(one["event"], one["count"]) for one in told] == [("access_log_entries_lost", 150)]


def test_a_path_is_one_field_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path from a client cannot begin a new log line."""
    found, log = io.StringIO(), AccessLog(as_json=False)
    log.append(line(1)._replace(path="/a\nevil [error] x"))
    monkeypatch.setattr(sys, "stderr", found)
    with log.writing():
        time.sleep(0)
    assert len(found.getvalue().splitlines()) == 1
