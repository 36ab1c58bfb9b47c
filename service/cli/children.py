"""Name the modules that run as processes of their own (`python -m NAME`), in this one place.

A supervisor that was started before an upgrade goes on starting them by the names and with the arguments it knows. So
after a move the old module remains for one release, as a stub that runs the new one.
"""

import sys

NAMES = ("service.cli.roles.job_child", "service.cli.roles.challenger_child", "service.cli.roles.query_child")

JOB, CHALLENGER, QUERY = ((sys.executable, "-m", name) for name in NAMES)
