"""The rules on what FPDM costs: parameters, memory, seconds, MACs. See `claim_rules`."""

from dataclasses import replace

import numpy as np
import pandas as pd

from bench.spec.grids import get_cells
from bench.spec.measurements import Footprint, calibration, published_step
from bench.spec.selection import Selection
from bench.spec.suites import MODELS
from bench.store.records import Record
from models.cost import block_macs, injection_macs
from models.zoo import model_config
from paper_figures.claims.rules import NEGLIGIBLE, Finding
from paper_figures.evidence import speed_ratios
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import Verdict, ratio, within
from paper_figures.evidence.pairing import UntestedError


def _footprint(evidence: Evidence, size: str, name: str) -> dict[str, float]:
    table1 = {c for c in get_cells("compute", evidence.twins, Selection()) if isinstance(c, Footprint)}
    records = [(c, r) for c, r in evidence.records("footprint") if isinstance(c, Footprint) and c in table1]
    found = {c.model: r.metrics[name] for c, r in records if c.size == size}
    if {"dit", "fpdm"} - found.keys():
        raise UntestedError(f"no record of {size} footprints")
    return found


def _saved(evidence: Evidence, name: str, published: float, tolerance: float) -> Finding:
    xl, own = (_footprint(evidence, size, name) for size in ("XL/2", evidence.suite))
    saved, saved_here = (100 * (1 - v["fpdm"] / v["dit"]) for v in (xl, own))
    unit, scale = ("M", 1e6) if name == "parameters" else ("GiB", 2**30)
    text = f"XL/2: {xl['dit'] / scale:.1f} against {xl['fpdm'] / scale:.1f} {unit}, {saved:.1f}% less; "
    text += f"the twins of {evidence.suite}: {saved_here:.1f}% less"
    return Finding(Verdict.CONFIRMED if abs(saved - published) <= tolerance else Verdict.CONTRADICTED, text)


def parameters(evidence: Evidence) -> Finding:
    """Confirmed within one percentage point of 87%, at XL/2."""
    return _saved(evidence, "parameters", 87, 1)


def memory(evidence: Evidence) -> Finding:
    """Confirmed within five percentage points of 60%, at XL/2 and batch 64."""
    finding = _saved(evidence, "peak_bytes", 60, 5)
    checked = any("measured_peak_bytes" in record.metrics for _, record in evidence.records("footprint"))
    text = f"computed{', ' if checked else ', not '}measured on a GPU{' too' if checked else ''}. {finding.measured}"
    drawn = {cell.model: record.metrics["peak_bytes"] for cell, record in _steps(evidence, "stochastic")}
    dit = {cell.model: record.metrics["peak_bytes"] for cell, record in _steps(evidence, "multi-step")}.get("dit")
    if dit and "fpdm" in drawn:  # the paper may have meant it, and does not say
        text += f"; XL/2 in the mean over the draws of stochastic JFB: {100 * (1 - drawn['fpdm'] / dit):.1f}% less"
    return Finding(finding.verdict, text)


def _steps(evidence: Evidence, unroll: str) -> list[tuple[Footprint, Record]]:
    """Training steps as the paper's, with this unroll."""
    asked = {replace(published_step(evidence.twins, model), unroll=unroll) for model in MODELS}
    return [(c, r) for c, r in evidence.records("footprint") if isinstance(c, Footprint) and c in asked]


def cost(evidence: Evidence) -> Finding:
    """Seconds a block pass of FPDM within a factor of 1.1 of DiT's at 26 iterations; the interval is over rounds."""
    own = calibration(evidence.twins)
    records = [record for cell, record in speed_ratios.measured(evidence) if cell == own]
    runs = [run for record in records for run in speed_ratios.sampled(own, speed_ratios.seconds(record))]
    logs = {
        (run.model, run.budget): np.log(run.seconds / run.block_passes)
        for run in runs
        # a DiT counts as depth - 2 iterations between one block before and one after
        if run.model == "dit" or run.iterations == own.dit.depth - 2
    }
    budgets = sorted({budget for _, budget in logs})
    if not budgets or any((model, budget) not in logs for model in MODELS for budget in budgets):
        raise UntestedError("sampling runs of both twins, timed side by side")
    each = {budget: logs["fpdm", budget] - logs["dit", budget] for budget in budgets}
    rounds = pd.Series(np.exp(np.mean(list(each.values()), axis=0)))
    found = ratio(rounds, pd.Series(1.0, index=rounds.index))
    texts = ", ".join(f"{np.exp(np.median(logs)):.2f} at {budget}" for budget, logs in each.items())
    return Finding(within(found, NEGLIGIBLE), f"FPDM/DiT {found}: {texts}")


def injections(evidence: Evidence) -> Finding:
    """Multiply-accumulates of an iteration within a factor of 1.1 of a block pass without its injection, at XL/2."""
    configs = {"XL/2": model_config("fpdm_xl_2"), f"the twin of {evidence.suite}": evidence.twins.fpdm}
    share = {name: injection_macs(config) / block_macs(config) for name, config in configs.items()}
    text = "; ".join(f"{name}: injection {value:.0%} of a block" for name, value in share.items())
    verdict = Verdict.CONFIRMED if 1 + share["XL/2"] <= NEGLIGIBLE else Verdict.CONTRADICTED
    return Finding(verdict, f"by formula, {text}")
