"""The Prometheus metrics of every role, each declared once: learner, archiver, trainer and server.

Only `bootstrap`, `cli` and tests import it; everybody else sees the telemetry protocols in `ports/telemetry.py`. Begin
with `learner.py`; `null.py` records nothing.
"""
