"""Which trials are not worth finishing: those below the median of the others at the same step (Golovin et al., 2017).

The bars of a trial are fixed when it begins, from the trials that were told before, so that no race between
processes decides what is pruned.
"""

import math
import statistics
from collections.abc import Sequence

from service.learning.search.trials import Trial, TrialState

STARTUP_TRIALS = 4
"""So many trials must be complete before any is pruned."""
WARMUP_STEPS = 2
"""Steps at which nobody is pruned: scores of the first events are chance."""


def pruning_thresholds(finished: Sequence[Trial]) -> list[float]:
    """What must be reached at each step, NaN where nothing must.

    Warm starts are left out: they know already what the others are still to learn.
    """
    steps = [one.outcome.steps for one in finished if _is_comparable(one)]
    if len(steps) < STARTUP_TRIALS:
        return []
    count = max(map(len, steps))
    return [
        math.nan if at < WARMUP_STEPS else _median([one[at] for one in steps if at < len(one)]) for at in range(count)
    ]


def is_below(score: float, threshold: float, *, maximize: bool) -> bool:
    """Whether a trial with this score ends here; never where either is NaN."""
    return score < threshold if maximize else score > threshold


def _is_comparable(trial: Trial) -> bool:
    return trial.outcome.state is TrialState.COMPLETE and not trial.recipe.warm_start and trial.same_as is None


def _median(scores: Sequence[float]) -> float:
    finite = [one for one in scores if math.isfinite(one)]
    return statistics.median(finite) if finite else math.nan
