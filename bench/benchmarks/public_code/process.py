"""The process of the public code, which is told over pipes what to time (`public_side`)."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from bench.benchmarks.public_code.peer_table import OPTIONS
from bench.system.errors import BadInputError

Run = Callable[[int], float]  # seconds of so many calls


@contextmanager
def public_process(
    name: str, checkout: Path, order: dict[str, Any], parts: Sequence[str]
) -> Iterator[tuple[dict[str, Run], dict[str, Tensor]]]:
    """A process that runs the public code.

    Args:
        name: network, "dit" or "fpdm".
        checkout: folder of the code.
        order: what is made, as `public_side.make` reads it, without `file`.
        parts: that can be timed.

    Returns:
        Runs of the parts by name; weights, inputs and results by name.

    Raises:
        BadInputError: the process ended.
    """
    # -P and no PYTHONPATH: Python finds nothing of this project in its place
    command = [sys.executable, "-P", str(Path(__file__).with_name("public_side.py")), str(checkout.resolve())]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
    orders, answers = process.stdin, process.stdout
    assert orders is not None
    assert answers is not None

    def ask(**order: object) -> float:
        with suppress(BrokenPipeError):  # it has ended: there is no answer either
            print(json.dumps(order), file=orders, flush=True)
        if not (line := answers.readline()):
            raise BadInputError(f"{OPTIONS[name]} {checkout}: its code ended with status {process.wait()}; see above")
        return json.loads(line)["seconds"]

    try:
        with TemporaryDirectory() as folder:
            file = f"{folder}/public.safetensors"
            ask(make={**order, "kind": name, "file": file})
            theirs = load_file(file)
        yield {part: partial(_asked, ask, part) for part in parts}, theirs
    finally:
        with suppress(BrokenPipeError):
            orders.close()
        answers.close()
        process.wait()


def _asked(ask: Callable[..., float], part: str, repeats: int) -> float:
    return ask(part=part, repeats=repeats)
