"""Describe the machine on which a measurement was made."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PACKAGES = (
    "headrace",
    "river",
    "kafka-python",
    "crc32c",
    "confluent-kafka",
    "msgspec",
    "numpy",
    "polars",
    "SQLAlchemy",
)


def description() -> dict[str, str]:
    """Return processor, cores, memory, load, Python, and the versions of the packages that matter."""
    return {
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "load when it began": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


def resident_bytes() -> int:
    """Return the resident size of this process in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _field(file: str, key: str) -> str:
    """Return the value of the first `key: value` line of a file, or an empty text."""
    path = Path(file)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
