"""The modules that are started as processes of their own, `python -m NAME`: the one place that knows their names.

A supervisor that was started before an upgrade goes on starting them by the names it knew, with the arguments it knew:
after a move the old module stays as a stub that runs the new one, for one release.
"""

import sys

NAMES = ("service.cli.roles.job_child", "service.cli.roles.challenger_child", "service.cli.roles.query_child")

JOB, CHALLENGER, INQUIRY = ((sys.executable, "-m", name) for name in NAMES)
