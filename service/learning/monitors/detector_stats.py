"""Reads from a river detector's state which statistic it compares with which limit.

Detectors tell only that they have detected something: the statistic and its limit are in members with an underscore.
`tests/unit/learning/test_internals_river.py` names these and fails first where a release changes them.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from service.learning.monitors.monitor import finite_or_none


class DetectorStats(NamedTuple):
    """A detector's present value, and the limit at which it detects; None where it has none yet."""

    value: float | None
    limit: float | None


def read_detector_stats(detector: Any) -> DetectorStats:
    """Return any detector's statistic and limit, or its estimate of the mean where it has no other."""
    read = _READERS.get(type(detector).__name__, _estimate)
    found = read(detector)
    return DetectorStats(finite_or_none(found.value), finite_or_none(found.limit))


def _estimate(detector: Any) -> DetectorStats:
    return DetectorStats(getattr(detector, "estimation", None), None)


def _adwin(detector: Any) -> DetectorStats:
    """Return the mean, and the mean of the window's newer half that is a cut (Bifet and Gavalda, 2007, eq. 3.1)."""
    width = detector.width
    if width < max(2 * detector.min_window_length, 2):
        return DetectorStats(detector.estimation, None)
    # River's `variance` is the sum of squared deviations, hence the division by the width.
    spread = math.log(2 * math.log(width) / detector.delta)
    reciprocal = 4 / width
    cut = math.sqrt(2 * reciprocal * detector.variance / width * spread) + 2 / 3 * reciprocal * spread
    return DetectorStats(detector.estimation, detector.estimation + cut / 2)


def _ddm(detector: Any) -> DetectorStats:
    """Return the error rate plus its deviation, and their minimum with three deviations (Gama et al., 2004)."""
    n, rate = detector._p.n, detector._p.get()
    if not n:
        return DetectorStats(None, None)
    limit = None
    if detector._p_min is not None:
        limit = detector._p_min + detector.drift_threshold * detector._s_min
    return DetectorStats(rate + math.sqrt(rate * (1 - rate) / n), limit)


def _eddm(detector: Any) -> DetectorStats:
    """Return the distance between errors as a share of its maximum; EDDM detects below the limit."""
    if detector._n_errors <= detector.warm_start or detector._p2s_prime_max <= 0:
        return DetectorStats(None, detector.beta)
    distances = detector._error_distances
    return DetectorStats((distances.mean.get() + 2 * distances.get() ** 0.5) / detector._p2s_prime_max, detector.beta)


def _hddm_a(detector: Any) -> DetectorStats:
    """Return the mean, and the least mean with its bound (Frias-Blanco et al., 2014)."""
    total, least = detector._z, detector._x_min
    if not total.n:
        return DetectorStats(None, None)
    if least.n in {0, total.n}:
        return DetectorStats(total.get(), None)
    share = (total.n - least.n) / least.n / total.n
    return DetectorStats(total.get(), least.get() + math.sqrt(share / 2 * math.log(2 / detector.drift_confidence)))


def _hddm_w(detector: Any) -> DetectorStats:
    """Return the newer weighted mean, and the older one with its bound (Frias-Blanco et al., 2014)."""
    older, newer = detector._s1_incr, detector._s2_incr
    if not (older._is_init and newer._is_init):
        return DetectorStats(detector._total.ewma if detector._total._is_init else None, None)
    bound = detector._mcdiarmid_bound(older.ibc + newer.ibc, detector.drift_confidence)
    return DetectorStats(newer.ewma, older.ewma + bound)


def _kswin(detector: Any) -> DetectorStats:
    """Return the test's p-value; KSWIN detects at or below the limit."""
    full = len(detector.window) >= detector.window_size
    return DetectorStats(float(detector.p_value) if full or detector.drift_detected else None, detector.alpha)


def _page_hinkley(detector: Any) -> DetectorStats:
    """Return the greater of the two sums that are watched, and the threshold (Page, 1954)."""
    if not detector._x_mean.n:
        return DetectorStats(None, detector.threshold)
    sides = {
        "up": detector._sum_increase - detector._min_increase,
        "down": detector._max_decrease - detector._sum_decrease,
    }
    return DetectorStats(sides.get(detector.mode, max(sides.values())), detector.threshold)


_READERS: Mapping[str, Callable[[Any], DetectorStats]] = {
    "ADWIN": _adwin,
    "DDM": _ddm,
    "EDDM": _eddm,
    "HDDMA": _hddm_a,
    "HDDMW": _hddm_w,
    "KSWIN": _kswin,
    "PageHinkley": _page_hinkley,
}
