"""HTTP: predictions, ingestion, the admin API, and the connection handling that all of them share.

Only `bootstrap` and `cli` import it; it calls `operations` and never touches SQL or a broker.
Begin with `edge/application.py`, then `predictions/routes.py`.
"""
