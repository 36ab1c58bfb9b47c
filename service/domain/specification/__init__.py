"""What a user may write about a model in `headrace.yaml`: frozen pydantic models and their validation.

Everything but `domain/stream` may import it; it imports `domain/stream` and `service.errors`.
Begin with `model.py`, whose `ModelSpec` has a field for each of the other files.
"""
