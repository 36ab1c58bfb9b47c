"""Build example values for JSON schemas from the examples inside them."""

from collections.abc import Mapping
from typing import Any

JsonSchema = Mapping[str, Any]
PRIMITIVE_EXAMPLES: Mapping[str, Any] = {"integer": 1, "number": 0.5, "boolean": False, "string": "text", "null": None}


def example_of(schema: JsonSchema, schemas: Mapping[str, JsonSchema]) -> Any:
    """Return a value that fits a JSON schema, following references into `schemas`."""
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rsplit("/", 1)[1]], schemas)
    for key in ("example", "const", "default"):
        if key in schema:
            return schema[key]
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return example_of(schema[key][0], schemas)
    return _example_of_type(schema, schemas)


def _example_of_type(schema: JsonSchema, schemas: Mapping[str, JsonSchema]) -> Any:
    kind = schema.get("type")
    if kind == "array":
        return [example_of(schema.get("items", {}), schemas)]
    if kind == "object":
        needed = schema.get("required", ())
        return {name: example_of(one, schemas) for name, one in schema.get("properties", {}).items() if name in needed}
    return PRIMITIVE_EXAMPLES.get(str(kind))
