"""The table of our networks against the public code, from the seconds of all rounds."""

from statistics import median
from typing import Any

import pandas as pd

NETWORKS = {"dit": "DiT", "fpdm": "FPDM"}
OPTIONS = {"dit": "--official-dit", "fpdm": "--released-fpdm"}
REPOSITORIES = {"dit": "facebookresearch/DiT", "fpdm": "lukemelas/fixed-point-diffusion-models"}
AIMS = {
    ("dit", "forward"): 1.5,
    ("fpdm", "forward"): 1.6,
    ("dit", "training step"): 1.25,
    ("fpdm", "training step"): 1.3,
}


def table(measured: list[dict[str, Any]]) -> pd.DataFrame:
    """The ratios, a row for each network, size, part and number of threads. An aim is reached in the faster mode."""
    rows = []
    for entry in measured:
        seconds, network, part = entry["seconds"], entry["network"], entry["part"]
        row = {"network": NETWORKS[network], "part": part, "size": entry["size"], "batch": entry["batch"]}
        row |= {"threads": entry["threads"]}
        modes = [mode for mode in ("eager", "compiled") if mode in seconds]
        row["public code, ms"] = f"{median(seconds['public']) * 1e3:.1f}" if "public" in seconds else ""
        row["ours compiled, ms"] = f"{median(seconds['compiled']) * 1e3:.1f}" if "compiled" in seconds else ""
        for mode in ("eager", "compiled"):
            missing = f"no checkout: give {OPTIONS[network]}" if mode in seconds else "no compiler"
            both = "public" in seconds and mode in seconds
            row[f"public / ours, {mode}"] = _ratio(seconds["public"], seconds[mode]) if both else missing
        row["aim"] = f"{AIMS[network, part]:.2f}"
        if "public" in seconds:
            faster = max(median(_quotients(seconds["public"], seconds[mode])) for mode in modes)
            row["reached"] = "yes" if faster >= AIMS[network, part] else "no"
        else:
            row["reached"] = ""
        for mode in ("eager", "compiled"):
            both = "products" in seconds and mode in seconds
            row[f"ours {mode} / products"] = _ratio(seconds[mode], seconds["products"]) if both else ""
        rows.append(row)
    return pd.DataFrame(rows)


def _quotients(above: list[float], below: list[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def _ratio(above: list[float], below: list[float]) -> str:
    values = _quotients(above, below)
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
