"""A model whose registry, stream and sessions are all in the test's process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.harness import PHISHING, Deployment
from tests.learned_model import LearnedModel, learned_model


@pytest.fixture
def model(tmp_path: Path) -> Iterator[LearnedModel]:
    """A registered model that has learned nothing; it commits when a test says so."""
    spec = {**PHISHING, "checkpoint": {"every": "1h"}}
    with learned_model(Deployment(tmp_path, spec)) as opened:
        yield opened
