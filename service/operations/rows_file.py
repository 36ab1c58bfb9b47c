"""Rows for the processes of a search, in a file without a name: it is gone when the job is, however that ends."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import polars as pl

from service.domain.events import Task
from service.learning.dataset import TrainingData
from service.learning.search.table_rows import TableRows


@contextmanager
def shared(data: TrainingData) -> Iterator[Callable[[], TableRows]]:
    """What loads the rows, here and in processes that this one has started, until the end of the block."""
    with tempfile.TemporaryFile() as file:
        data.table.write_ipc(file)
        file.flush()
        yield partial(load, f"/proc/{os.getpid()}/fd/{file.fileno()}", data.task)


def load(path: str, task: Task) -> TableRows:
    """The rows of such a file."""
    return TableRows(TrainingData(task, pl.read_ipc(Path(path).read_bytes())))
