"""What every acceptance test leaves behind: no process."""

import signal
from collections.abc import Iterator

import pytest

from tests.acceptance.harness import STARTED


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """A failed test's processes, paused ones too, end with it."""
    yield
    for process in STARTED:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=10)
    STARTED.clear()
