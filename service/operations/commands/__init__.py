"""Commands on a model: request one, and execute it in the process that holds the champion's lease.

Imported by `operations.learning_loop`, `replay` and `challengers`, and by `serving`, `cli` and `bootstrap`.
Begin with `execute.execute_command`, which has a handler for each kind; `request.request_command` is the asking side.
"""
