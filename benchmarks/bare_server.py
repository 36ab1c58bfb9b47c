"""`python -m benchmarks.bare_server PORT PICKLE`: serve one Starlette route that predicts, and nothing else."""

import pickle
import sys
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def application(model: Any) -> Starlette:
    """Return the application, whose route `POST /invocations` turns features into probabilities."""
    decode, encode = msgspec.json.Decoder(dict[str, float]).decode, msgspec.json.Encoder().encode

    async def invocations(request: Request) -> Response:
        probabilities = model.predict_proba_one(decode(await request.body()))
        return Response(
            encode({str(label): share for label, share in probabilities.items()}), media_type="application/json"
        )

    return Starlette(routes=[Route("/invocations", invocations, methods=["POST"])])


def main() -> None:
    """Serve until stopped."""
    model = pickle.loads(Path(sys.argv[2]).read_bytes())
    uvicorn.run(
        application(model), port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="error"
    )


if __name__ == "__main__":
    main()
