"""Training jobs, their states, what an evaluation found, and the report that is kept with a version.

Every package may import it; it imports the other domain packages except `access`.
Begin with `jobs.py`, then `evaluation.py` and `report.py`.
"""
