"""Processes that must not outlive the one that started them, even if it is killed."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """End this process, whatever it is doing, when the process has ended that started it by `multiprocessing`."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
