"""How often Python looks for garbage in a process that learns."""

import gc

COLLECT_AFTER = (50_000, 20, 50)


def spare_the_collector() -> None:
    """What is imported and opened stays, and events are no cycles: looking for garbage among them costs a tenth."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
