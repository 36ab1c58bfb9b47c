"""Watches what a lineage learns: detectors, distances from a reference, limits on metrics. Pure: no clock, no IO."""

from service.learning.monitors.columns import Batch
from service.learning.monitors.monitor import Hit, Monitor
from service.learning.monitors.monitors import Monitors

__all__ = ["Batch", "Hit", "Monitor", "Monitors"]
