"""Child processes that end with their parent, even if it is killed."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Make this child process of `multiprocessing` end as soon as its parent has ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
