"""The long-running roles (learner, replayer, archiver, trainer, server) and the entry points of their child processes.

`cli/start.py` imports the roles; the `*_child.py` modules are started by name with `python -m`. Begin with `run.py`,
which starts every role under one supervisor.
"""
