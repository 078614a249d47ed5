"""The rules on cost: parameters, memory, seconds, MACs."""

from dataclasses import replace

import numpy as np
import pandas as pd

from bench.spec.grids.catalogue import get_cells
from bench.spec.measurements import Footprint, calibration, published_step
from bench.spec.selection import Selection
from models.cost import block_macs, injection_macs
from models.zoo import model_config
from paper_figures.claims.findings import NEGLIGIBLE, Finding, judged, negligible, rule
from paper_figures.claims.rules import sides
from paper_figures.evidence import speed_ratios
from paper_figures.evidence.criteria import Verdict
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import ratio
from paper_figures.evidence.pairing import UntestedError


def _footprint(evidence: Evidence, size: str, name: str) -> tuple[float, float]:
    """A metric of baseline and subject, of Table 1's footprints of a size."""
    suite = evidence.compared
    table1 = {c for c in get_cells("compute", suite, Selection()) if isinstance(c, Footprint) and c.size == size}
    found = {
        c.model: r.metrics[name] for c, r in evidence.records("footprint") if isinstance(c, Footprint) and c in table1
    }
    try:
        return found[suite.baseline_name], found[suite.subject_name]
    except KeyError:
        raise UntestedError(f"no record of {size} footprints") from None


def _saved(evidence: Evidence, name: str, published: float, tolerance: float) -> Finding:
    """Percentage that the subject saves at XL/2, beside the published one."""
    xl, own = (_footprint(evidence, size, name) for size in ("XL/2", evidence.suite))
    saved, saved_here = (100 * (1 - subject / baseline) for baseline, subject in (xl, own))
    unit, scale = ("M", 1e6) if name == "parameters" else ("GiB", 2**30)
    text = f"XL/2: {xl[0] / scale:.1f} against {xl[1] / scale:.1f} {unit}, {saved:.1f}% less; "
    text += f"the twins of {evidence.suite}: {saved_here:.1f}% less"
    return Finding(Verdict.CONFIRMED if abs(saved - published) <= tolerance else Verdict.CONTRADICTED, text)


@rule("Confirmed within one percentage point of 87%, at XL/2")
def parameters(evidence: Evidence) -> Finding:
    return _saved(evidence, "parameters", 87, 1)


@rule("Confirmed within five percentage points of 60%, at XL/2 and batch 64")
def memory(evidence: Evidence) -> Finding:
    finding, suite = _saved(evidence, "peak_bytes", 60, 5), evidence.compared
    peaks = {cell: record.metrics for cell, record in evidence.records("footprint")}
    checked = any("measured_peak_bytes" in metrics for metrics in peaks.values())
    text = f"computed{', ' if checked else ', not '}measured on a GPU{' too' if checked else ''}. {finding.measured}"
    baseline = peaks.get(published_step(suite, suite.baseline))
    drawn = peaks.get(replace(published_step(suite, suite.subject), unroll="stochastic"))
    if baseline and drawn:  # the paper may have meant it, and does not say
        saved = 100 * (1 - drawn["peak_bytes"] / baseline["peak_bytes"])
        text += f"; XL/2 in the mean over the draws of stochastic JFB: {saved:.1f}% less"
    return Finding(finding.verdict, text)


@rule("Seconds a block pass of FPDM within a factor of 1.1 of DiT's at 26 iterations; the interval is over rounds")
def cost(evidence: Evidence) -> Finding:
    suite, own = evidence.compared, calibration(evidence.compared)
    records = [record for cell, record in speed_ratios.measured(evidence) if cell == own]
    runs = [run for record in records for run in speed_ratios.sampled(own, speed_ratios.seconds(record))]
    _, equal, _ = suite.baseline.family.layout(suite.baseline.config, 0)  # iterations that the baseline counts as
    logs = {
        (run.model, run.budget): np.log(run.seconds / run.block_passes) for run in runs if run.iterations in (0, equal)
    }
    budgets = sorted({budget for _, budget in logs})
    if not budgets or any((model, budget) not in logs for model in own.configs for budget in budgets):
        raise UntestedError("sampling runs of both twins, timed side by side")
    each = {budget: logs[suite.subject_name, budget] - logs[suite.baseline_name, budget] for budget in budgets}
    rounds = pd.Series(np.exp(np.mean(list(each.values()), axis=0)))
    found = ratio(rounds, pd.Series(1.0, index=rounds.index))
    texts = ", ".join(f"{np.exp(np.median(logs)):.2f} at {budget}" for budget, logs in each.items())
    return judged(f"{sides(evidence)} {found}: {texts}", (negligible, {sides(evidence): found}))


@rule("Multiply-accumulates of an iteration within a factor of 1.1 of a block pass without its injection, at XL/2")
def injections(evidence: Evidence) -> Finding:
    own = evidence.compared.subject.config
    configs = {"XL/2": model_config(f"{own.family}_xl_2"), f"the twin of {evidence.suite}": own}
    share = {name: injection_macs(config) / block_macs(config) for name, config in configs.items()}
    text = "; ".join(f"{name}: injection {value:.0%} of a block" for name, value in share.items())
    verdict = Verdict.CONFIRMED if 1 + share["XL/2"] <= NEGLIGIBLE else Verdict.CONTRADICTED
    return Finding(verdict, f"by formula, {text}")
