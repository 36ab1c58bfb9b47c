"""Word results for the command line: numbers, times, tables and pages of 80 columns.

`cli.commands` and `cli.context` import it; it imports `domain` only.
Begin with `layout.py`, then `wording.py`.
"""
