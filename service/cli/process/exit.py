"""How a process of Headrace ends: at once, with its output written and its threads done."""

import os
import sys
import threading
from concurrent.futures import thread as pools
from typing import NoReturn


def exit_process(code: int) -> NoReturn:
    """End without taking the interpreter apart.

    A thread of a native library (Arrow, polars) may be giving back a Python buffer just then; in an interpreter that is
    being taken apart, such a thread ends the process by SIGABRT, and the exit code that was promised is lost.
    """
    pools._python_exit()  # as the interpreter does: idle threads of pools wait for work until they are told
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    for written in (sys.stdout, sys.stderr):
        try:
            written.flush()
        except OSError:
            code = code or 1
    os._exit(code)
