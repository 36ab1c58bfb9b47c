"""What a test needs of the machine."""

import os

import pytest


def need(reason: str | None) -> None:
    """Skip where a service cannot run, saying why; fail in CI."""
    if reason is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI must run this test, but {reason}")
    pytest.skip(reason)
