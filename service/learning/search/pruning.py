"""Median stopping rule (Golovin et al., 2017): a trial below the median of the others at the same step is pruned.

The thresholds of a trial are fixed when it begins, from the trials that the sampler has been told of by then, so that
no race between processes decides what is pruned.
"""

import math
import statistics
from collections.abc import Sequence

from service.learning.search.trials import Trial, TrialState

STARTUP_TRIALS = 4
"""How many trials must be complete before any is pruned."""
WARMUP_STEPS = 2
"""First steps at which no trial is pruned, because scores of the first events are mostly chance."""


def pruning_thresholds(finished: Sequence[Trial]) -> list[float]:
    """Return the score to reach at each step, NaN where there is none.

    Warm starts are left out, because they already know what the others still have to learn.
    """
    steps = [one.outcome.steps for one in finished if _is_comparable(one)]
    if len(steps) < STARTUP_TRIALS:
        return []
    count = max(map(len, steps))
    return [
        math.nan if at < WARMUP_STEPS else _median([one[at] for one in steps if at < len(one)]) for at in range(count)
    ]


def is_below(score: float, threshold: float, *, maximize: bool) -> bool:
    """Return whether a trial with this score ends here; never if either value is NaN."""
    return score < threshold if maximize else score > threshold


def _is_comparable(trial: Trial) -> bool:
    return trial.outcome.state is TrialState.COMPLETE and not trial.recipe.warm_start and trial.same_as is None


def _median(scores: Sequence[float]) -> float:
    finite = [one for one in scores if math.isfinite(one)]
    return statistics.median(finite) if finite else math.nan
