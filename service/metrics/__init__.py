"""The Prometheus metrics of every role, each declared once: learner, archiver, trainer, server; `null.py` records nothing.

Only `bootstrap`, `cli` and tests import it; everybody else sees the telemetry protocols in `ports/telemetry.py`.
Begin with `learner.py`.
"""
