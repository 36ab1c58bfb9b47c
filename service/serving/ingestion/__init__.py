"""`POST /models/{m}/events` and `/models/{m}/labels`: append all records of a request to the stream, or none.

`predictions` and `bootstrap/server.py` import it; of `serving` it uses `edge` alone. Begin with `routes.py`;
`records.py` shows how a body is split into records.
"""
