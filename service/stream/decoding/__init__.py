"""Decodes bytes to events, labels and refusals, for every layout that a model's specification can name.

`stream/archive`, `stream/publish.py` and `bootstrap` import it; it imports no broker and no file. Begin with
`factory.py`, which chooses the decoder, then `fields.py`, which checks each field.
"""
