"""The modules that are started as processes of their own, `python -m NAME`: the one place that knows their names.

A supervisor that was started before an upgrade goes on starting them by the names it knew, with the arguments it knew:
after a move the old module stays as a stub that calls the new one, for one release.
"""

TRAINING_JOB = "service.cli.training"
CHALLENGER = "service.cli.challenging"
INQUIRY = "service.cli.inquiring"
NAMES = (TRAINING_JOB, CHALLENGER, INQUIRY)
