"""Predict a customer, later send what became of them, and read the model's metrics: `python client.py [URL]`."""

import sys
import time
from typing import Any

import httpx

CUSTOMER = {"months": 3, "calls": 5, "spend": 20.5, "paperless": False}


def counted(server: httpx.Client) -> dict[str, Any]:
    """Return the state of the model: what it has learned, and its metrics."""
    return dict(server.get("/api/v1/models/churn").raise_for_status().json())


def main(url: str) -> None:
    """Request one prediction, send its label, and wait until it is scored; requests may be repeated after an error."""
    with httpx.Client(base_url=url, timeout=10) as server:
        key = f"visit-{time.time_ns()}"
        before = counted(server)["events"]["learned"]
        question = {"id": key, "x": CUSTOMER}
        answer = server.post("/models/churn/invocations", json=question).raise_for_status().json()
        print(f"customer {key} leaves: {answer['prediction']}, {answer['probabilities']}")
        server.post("/models/churn/labels", json={"customer": key, "churned": True}).raise_for_status()
        while counted(server)["events"]["learned"] == before:
            time.sleep(0.1)
        print(f"scored and learned; metrics: {counted(server)['metrics']['cumulative']}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8420")
