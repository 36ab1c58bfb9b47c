"""The first signal stops, the second one kills."""

import subprocess
import sys

import pytest

SCRIPT = """
import signal, threading
from service.cli.process.signals import stop_on_signals

stop = threading.Event()
with stop_on_signals(stop):
    with stop._cond:  # as `stop.wait()` holds it for a moment
        for number in ({}):
            signal.raise_signal(number)
    print("asked" if stop.wait(10) else "not asked", flush=True)
    signal.raise_signal(signal.SIGTERM)
print("alive")
"""


@pytest.mark.parametrize("signals", ["signal.SIGTERM,", "signal.SIGTERM, signal.SIGINT"])
def test_a_signal_waits_for_no_lock(signals: str) -> None:
    """Signals are heard while the main thread holds the event's lock; the second of a kind kills."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(signals)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.returncode) == ("asked\n", -15), done.stderr
