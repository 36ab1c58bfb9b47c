"""Records, events, labels, positions, offset ranges and exclusions: what is read from the stream and how far.

Every package may import it; it imports only `service.errors`.
Begin with `events.py`, then `position.py` and `offset_ranges.py`.
"""
