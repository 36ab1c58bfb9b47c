"""Adapters of streams: Kafka by two drivers, the embedded log, decoders, the archive's Parquet files, publishing.

Only `bootstrap` (and `cli` to publish) imports it; operations use the protocols in `ports/stream.py`. Begin with
`decoding/factory.py` for records, or with `log/source.py` for the simplest source.
"""
