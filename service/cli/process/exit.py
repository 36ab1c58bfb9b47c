"""End a process of Headrace at once, with its output flushed and its threads finished."""

import os
import sys
import threading
from concurrent.futures import thread as pools
from typing import NoReturn


def exit_process(code: int) -> NoReturn:
    """End the process with this code, without finalizing the interpreter.

    A thread of a native library (Arrow, polars) may be releasing a Python buffer at that moment. While the interpreter
    is finalized, such a thread ends the process by SIGABRT, and the promised exit code is lost.
    """
    pools._python_exit()  # as the interpreter does: it wakes the idle threads of pools, which then end
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    for written in (sys.stdout, sys.stderr):
        try:
            written.flush()
        except OSError:
            code = code or 1
    os._exit(code)
