"""The commands of the processes that a trainer and a server start.

Processes of an earlier release may still start these modules by their names.
"""

import sys

JOB = (sys.executable, "-m", "service.cli.training")
CHALLENGER = (sys.executable, "-m", "service.cli.challenging")
INQUIRY = (sys.executable, "-m", "service.cli.inquiring")
