"""Monitors drift: river's detectors, distances from a reference, limits on a windowed metric. No clock, no IO.

`learner`, operations, cli and config may import it; it imports `metrics` and `estimators`. Begin with `monitor.py` (the
protocol) and `monitor_set.py`; to add a distance, see `distances.py`.
"""

from service.learning.monitors.inputs import MonitorBatch
from service.learning.monitors.monitor import DriftOnset, Monitor
from service.learning.monitors.monitor_set import MonitorSet

__all__ = ["DriftOnset", "Monitor", "MonitorBatch", "MonitorSet"]
