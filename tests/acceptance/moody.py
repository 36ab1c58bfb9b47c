"""An estimator whose mood the tests choose: it learns like any other while there is no file `mood` where it runs."""

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from river import linear_model, preprocessing

MOOD = Path("mood")


class MisbehavingEstimator:
    """River's protocol around a pipeline of river's."""

    def __init__(self) -> None:
        self.model = preprocessing.StandardScaler() | linear_model.LogisticRegression()

    def predict_one(self, x: dict[str, Any]) -> bool:
        """As the pipeline."""
        return bool(self.model.predict_one(x))

    def learn_one(self, x: dict[str, Any], y: bool) -> None:
        """As the pipeline, unless it is in a mood."""
        if MOOD.exists():
            misbehave(MOOD.read_text(encoding="utf-8"))
        self.model.learn_one(x, y)


def misbehave(mood: str) -> None:
    """Throw, hang, eat memory, or start a process and listen to nobody."""
    if mood == "throw":
        msg = "not this one"
        raise ArithmeticError(msg)
    if mood == "hang":
        time.sleep(3600)
    if mood == "slow":
        time.sleep(0.02)
    if mood == "eat":
        held = []
        while True:
            held.append(bytearray(b"x" * 10_000_000))
            time.sleep(0.005)
    if mood == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "3600"])
        Path("grandchild").write_text(str(child.pid), encoding="utf-8")
        time.sleep(3600)


def make() -> MisbehavingEstimator:
    """The factory that the configuration names; in one mood it cannot."""
    if MOOD.exists() and MOOD.read_text(encoding="utf-8") == "refuse":
        msg = "not today"
        raise ArithmeticError(msg)
    return MisbehavingEstimator()
