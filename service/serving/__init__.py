"""The HTTP server: predictions, ingestion, the admin API, and the edge that every request passes.

`bootstrap` and `cli` import it; it calls `operations`, and never touches SQL or a broker itself. The subpackages are
`predictions`, `ingestion`, `admin` (mounted at `/api/v1`) and `edge` (connections, limits, tokens, problems). Begin
with `edge/application.py`, then read `predictions/routes.py`.
"""
