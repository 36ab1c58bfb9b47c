"""The command line: `app.py` puts the commands together, `context.py` has the exit codes and the printing that all share.

Nothing imports it but `__main__`, and the child processes that are started by module name.
Begin with `app.py`.
"""
