"""Whether a number made again agrees with its record.

On the same processor, with the same torch and number of threads, samples are the same bits, and metrics differ by the
rounding of large sums at most. Elsewhere some pixels differ by a 256th. Tried on digits, on an EPYC with AVX-512: with
torch, MKL and oneDNN kept to SSE, FD and KID of kept weights changed by 1e-5 of their values at most, and those of a
DiT-3 that was trained again for 1,500 steps by 2e-4. `ELSEWHERE` and `RETRAINED` allow a hundred times as much.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.machine.processor import processor_name
from bench.spec.metrics import METRICS
from bench.store.records import Record
from bench.store.table import QUALITY

Tolerance = tuple[float, float]  # relative, absolute: the larger one counts
DISTANCES = [name for name in METRICS if name.startswith("fid")]  # of all images and of parts of them
HERE: dict[str, Tolerance] = dict.fromkeys(METRICS, (1e-5, 1e-5))  # under the conditions of the record
ELSEWHERE: dict[str, Tolerance] = {
    **dict.fromkeys(METRICS, (1e-3, 1e-4)),
    **dict.fromkeys(DISTANCES, (1e-3, 1e-3)),
    "precision": (0.0, 5e-3),
    "recall": (0.0, 5e-3),
}
RETRAINED: dict[str, Tolerance] = {  # from weights that are not the same bits
    **dict.fromkeys(METRICS, (2e-2, 2e-3)),
    **dict.fromkeys(DISTANCES, (2e-2, 2e-2)),
    "precision": (0.0, 2e-2),
    "recall": (0.0, 2e-2),
}


@dataclass(frozen=True)
class Agreement:
    """A kept record beside the one that was made again.

    Attributes:
        kept, found: the two.
        elsewhere: what of the conditions differs, so that bits may; empty if nothing does.
        allowed: how much metrics may differ.
        problems: what does not agree.
    """

    kept: Record
    found: Record
    elsewhere: str
    allowed: Mapping[str, Tolerance]
    problems: tuple[str, ...]

    @property
    def same_samples(self) -> bool:
        return self.kept.samples_digest == self.found.samples_digest


def agreement(kept: Record, found: Record, same_weights: bool = True) -> Agreement:
    """Compare what was measured, with weights that are the same bits or, from a repeated training, other ones."""
    elsewhere = other_conditions(kept.environment, found.environment)
    allowed = ELSEWHERE if elsewhere else HERE
    if not same_weights:
        elsewhere, allowed = ", ".join(filter(None, ("weights of other bits", elsewhere))), RETRAINED
    if found.status != "done":
        return Agreement(kept, found, elsewhere, allowed, (f"{found.status}: {found.reason}",))
    problems = []
    if kept.samples_digest != found.samples_digest and not elsewhere:
        problems.append("other samples under the same conditions")
    for name, tolerance in allowed.items():
        if name in kept.metrics and name in found.metrics:
            problems += _outside(QUALITY[name], kept.metrics[name], found.metrics[name], tolerance)
    for name, value in kept.cost.items():  # of adaptive allocation it depends on the samples
        problems += _outside(name, value, found.cost.get(name, math.nan), allowed["fid"])
    return Agreement(kept, found, elsewhere, allowed, tuple(problems))


def _outside(name: str, kept: float, found: float, tolerance: Tolerance) -> list[str]:
    relative, absolute = tolerance
    if abs(found - kept) <= max(relative * abs(kept), absolute):
        return []
    return [f"{name} {found:.6g} instead of {kept:.6g}"]


def other_conditions(kept: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """What differs between two environments that may change bits, in words; empty if nothing does."""
    if "cuda" in (kept.get("device"), found.get("device")):
        return "a GPU, which need not repeat bits"
    differing = []
    if "processor" not in kept:
        differing.append("the processor is not recorded")
    elif kept["processor"] != found["processor"]:
        here, then = (processor_name(one["processor"]) for one in (found, kept))
        differing.append(f"the processor is {here}, not {then}")
    for name in ("torch", "threads", "execution"):
        if (then := kept.get(name) or "eager") != (here := found.get(name) or "eager"):
            differing.append(f"{name} {here}, not {then}")
    return ", ".join(differing)
