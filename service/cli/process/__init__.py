"""What every role's process needs: start-up, signals, supervision, health port and exit.

`cli/roles` imports it; it knows no role.
Begin with `supervisor.py`.
"""
