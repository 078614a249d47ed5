"""Processes that must not outlive the one that started them, even if it is killed."""

import os
import threading
import time

_EVERY_S = 0.5


def end_with(parent: int) -> None:
    """End this process, whatever it is doing, soon after its parent, the process of that id, has ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
