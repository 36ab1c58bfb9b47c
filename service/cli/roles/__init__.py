"""The long-running roles: learner, replayer, archiver, trainer, server, and the entry points of their child processes.

`cli/app.py` imports the roles; the `*_child.py` files are started as `python -m` by their module names.
Begin with `run.py`, which starts every role under one supervisor.
"""
