"""The protocols between the core and the outside: streams, the archive, the registry, telemetry.

Every layer but `domain` and `learning` may import them; they import only `domain` and `errors`.
Begin with `stream.py` (Source, Sink, Decoder), then `registry.py`.
"""
