"""Runs a command as the soak wants it: launched.py COMMAND [ARGUMENTS]

Training slices of `digits` are short, so that checkpoints are written often. Changes of files below the folder
SOAK_FOLDER are counted: the process kills itself just before change number SOAK_KILL_AT, or writes their number to the
file SOAK_COUNTED when it ends. Changes by worker processes are not counted.
"""

import atexit
import os
import runpy
import signal
import sys
from pathlib import Path

SLICE_S = 0.25
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "shutil.rmtree"}


def count_changes():
    folder, last, count = os.environ["SOAK_FOLDER"], int(os.environ.get("SOAK_KILL_AT", 0)), 0

    def note(event, arguments):
        nonlocal count
        if event in CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            count += str(arguments[0]).startswith(folder)
            if count == last > 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(note)
    if where := os.environ.get("SOAK_COUNTED"):
        atexit.register(lambda: Path(where).write_text(str(count)))


if __name__ == "__main__":
    from bench.spec.suites import SUITES

    SUITES["digits"] = SUITES["digits"].changed(recipe={"slice_s": SLICE_S})
    count_changes()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
