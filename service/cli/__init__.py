"""The command line: `app.py` assembles the commands; `context.py` has the exit codes and printing that they share.

Only `service.__main__` imports it; child processes are started by module name.
Begin with `app.py`.
"""
