"""The rules that turn records into verdicts on the paper's claims, fixed before the numbers came in.

Each takes the evidence and returns a `Finding`, or raises `UntestedError`; its docstring is the rule as printed. Where
FPDM's schedule has to be chosen, it is chosen on the replicates that do not score it (`intervals.best`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from bench.cells import Cell, Footprint, TrainingRun
from bench.suites import get_suite
from paper_figures.gather import Evidence
from paper_figures.intervals import Ratio, Verdict, above, below, best, both, by_seed, ratio, within

COMPARABLE = 1.5  # two FIDs within this factor are "comparable": the paper says so of 26.1 to 37.9 and of 19.6 to 16.5
FAILURE = 2.0  # a training method "fails" if its FID is more than this many times the paper's method's
NEGLIGIBLE = 1.1  # differences within this factor are "negligible"


@dataclass(frozen=True)
class Finding:
    """A verdict and the numbers that it rests on."""

    verdict: Verdict
    measured: str


class UntestedError(Exception):
    """The records do not hold what a rule needs; says what."""


def _some(frame: pd.DataFrame, what: str, **wanted: object) -> pd.DataFrame:
    """The comparable rows with these values; UntestedError if there are none."""
    for column, value in wanted.items():
        frame = frame[frame[column].isin(value) if isinstance(value, (tuple, list)) else frame[column] == value]
    if (frame := frame[frame.comparable.astype(bool)]).empty:
        raise UntestedError(f"no record of {what}")
    return frame


def _own(evidence: Evidence) -> pd.DataFrame:
    """Rows of the suite's own twins by plain iteration, constant allocation, with reuse."""
    frame = evidence.frame
    twins = [cell.run.name for cell in evidence.cells if cell.run is not None and _is_twin(evidence, cell.run)]
    plain = frame.train_run.isin(twins) & (frame.solver == "iteration") & (frame.allocation == "constant")
    return frame[plain & ((frame.model == "dit") | frame.reuse.astype(bool))]


def _is_twin(evidence: Evidence, run: TrainingRun) -> bool:
    suite = get_suite(evidence.suite)
    recipe, own = run.recipe, suite.training
    same = (recipe.unroll, recipe.n_max, recipe.m_max) == (own.unroll, own.n_max, own.m_max)
    return same and run.config == suite.model(run.model)


def _training_variance(evidence: Evidence, budget: int, iterations: int) -> float:
    """Variance of log FD over the twin's replicates, training seeds included: lent to what was trained once."""
    frame = _own(evidence)
    values = by_seed(frame[(frame.model == "fpdm") & (frame.budget == budget) & (frame.iterations == iterations)
                           & (frame.sampler == "ddpm")])  # fmt: skip
    return float(np.log(values).var(ddof=1)) if len(values) > 1 else np.nan


def between_runs(evidence: Evidence, a: pd.DataFrame, b: pd.DataFrame, budget: int, iterations: int) -> Ratio:
    """FD of a over b, where either may have been trained once."""
    once = sum(frame.train_seed.nunique() < frame.seed.nunique() for frame in (a, b))
    extra = once * _training_variance(evidence, budget, iterations) if once else 0.0
    return ratio(by_seed(a), by_seed(b), extra)


def _footprint(evidence: Evidence, size: str, name: str) -> dict[str, float]:
    records = evidence.records("footprint")
    found = {c.model: r.metrics[name] for c, r in records if isinstance(c, Footprint) and c.size == size}
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
    return Finding(finding.verdict, f"computed, not measured on a GPU. {finding.measured}")


def _against_dit(
    evidence: Evidence, budget: int, sampler: str, iterations: tuple[int, ...] = ()
) -> tuple[Ratio, pd.Series, pd.Series]:
    frame = _own(evidence)
    chosen = {"budget": budget, "sampler": sampler}
    dit = by_seed(_some(frame, f"DiT at {budget}, {sampler}", model="dit", **chosen))
    wanted = {"iterations": iterations} if iterations else {}
    fpdm = best(_some(frame, f"FPDM at {budget}, {sampler}", model="fpdm", **chosen, **wanted))
    return ratio(fpdm, dit), fpdm, dit


def better_at(budget: int) -> Callable[[Evidence], Finding]:
    """The rule for one budget."""

    def rule(evidence: Evidence) -> Finding:
        found = {s: _against_dit(evidence, budget, s)[0] for s in ("ddpm", "ddim")}
        text = "; ".join(f"{s.upper()}: FPDM/DiT {r}" for s, r in found.items())
        return Finding(both(*(below(r) for r in found.values())), text)

    rule.__doc__ = f"The best FPDM below DiT at {budget} passes, with DDPM and with DDIM."
    return rule


def comparable_at_560(evidence: Evidence) -> Finding:
    """Within a factor of 1.5 of DiT, with DDPM and with DDIM."""
    found = {s: _against_dit(evidence, 560, s)[0] for s in ("ddpm", "ddim")}
    text = "; ".join(f"{s.upper()}: FPDM/DiT {r}" for s, r in found.items())
    return Finding(both(*(within(r, COMPARABLE) for r in found.values())), text)


def ddpm_but_not_ddim(evidence: Evidence) -> Finding:
    """At 560, below DiT with DDPM and above it with DDIM."""
    ddpm, ddim = (_against_dit(evidence, 560, s)[0] for s in ("ddpm", "ddim"))
    return Finding(both(below(ddpm), above(ddim)), f"DDPM: FPDM/DiT {ddpm}; DDIM: {ddim}")


def optimum(evidence: Evidence) -> Finding:
    """The best schedule of 4 to 8 iterations below the best one outside, each chosen on other replicates."""
    fpdm = _some(_own(evidence), "FPDM at 280", model="fpdm", budget=280, sampler="ddpm")
    inside = fpdm.iterations.between(4, 8)
    if not inside.any() or inside.all():
        raise UntestedError("no record on both sides of 4 to 8 iterations")
    means = fpdm.groupby("iterations").fid.mean()
    text = f"iterations with the best mean: {means.idxmin()}; best of 4-8 over best outside "
    found = ratio(best(fpdm[inside]), best(fpdm[~inside]))
    return Finding(below(found), text + str(found))


def worse_at_equal_iterations(evidence: Evidence) -> Finding:
    """FPDM at 26 iterations above DiT, equal timesteps, at 280 passes with DDPM."""
    found, _, _ = _against_dit(evidence, 280, "ddpm", (26,))
    return Finding(above(found), f"FPDM at 26 iterations / DiT {found}")


def allocation(evidence: Evidence) -> Finding:
    """Increasing below constant and constant below decreasing, over the iterations of Table 5 together."""
    frame = evidence.frame
    frame = frame[(frame.solver == "iteration") & (frame.sampler == "ddpm") & (frame.budget == 280)]
    ks = sorted(set(_some(frame, "increasing allocation", allocation="increasing").iterations))
    twin = set(_own(evidence).train_run)
    by_name = {
        name: by_seed(
            _some(frame[frame.train_run.isin(twin)], f"{name} allocation", allocation=name, iterations=ks, reuse=True)
        )
        for name in ("increasing", "constant", "decreasing")
    }
    first = ratio(by_name["increasing"], by_name["constant"])
    second = ratio(by_name["constant"], by_name["decreasing"])
    return Finding(both(below(first), below(second)), f"increasing/constant {first}; constant/decreasing {second}")


def reuse(evidence: Evidence) -> Finding:
    """With reuse lower at 1 to 3 iterations; within a factor of 1.1 at 12 and more."""
    frame = evidence.frame
    frame = frame[(frame.model == "fpdm") & (frame.allocation == "constant") & (frame.solver == "iteration")]
    frame = frame[(frame.budget == 280) & (frame.sampler == "ddpm")]
    cold = _some(frame, "sampling without reuse", reuse=False)
    warm = _some(frame, "sampling with reuse", reuse=True, train_run=list(set(cold.train_run)))
    few, many = (
        ratio(by_seed(warm[warm.iterations.isin(ks)]), by_seed(cold[cold.iterations.isin(ks)]))
        for ks in ((1, 2, 3), tuple(k for k in set(cold.iterations) if k >= 12))
    )
    text = f"with/without reuse at 1-3 iterations {few}; at 12 and more {many}"
    return Finding(both(below(few), within(many, NEGLIGIBLE)), text)


def reuse_by_timestep(evidence: Evidence) -> Finding:
    """Residual at iteration 5 lower with reuse at each step past the noisiest quarter; contradicted at half or less."""
    means: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for cell, record in evidence.records("convergence"):
        assert isinstance(cell, Cell)
        means[cell.reuse].append(np.asarray(record.series["residuals"])[:, :, 4].mean(0))
    if not means[True] or len(means[True]) != len(means[False]):
        raise UntestedError("no pair of records of convergence")
    gain = np.mean(np.log(means[True]) - np.log(means[False]), axis=0)[1:]  # the first step has nothing to reuse
    rest = gain[len(gain) // 4 :]
    share = float((rest < 0).mean())
    text = (
        f"lower at {share:.0%} of the steps past the noisiest quarter; median ratio there {np.exp(np.median(rest)):.2f}"
    )
    verdict = Verdict.CONFIRMED if share == 1 else Verdict.CONTRADICTED if share <= 0.5 else Verdict.INCONCLUSIVE
    return Finding(verdict, text)


def _layers(evidence: Evidence, budget: int) -> dict[int, pd.DataFrame]:
    frame = evidence.frame
    frame = frame[(frame.unroll == "stochastic") & (frame.allocation == "constant") & (frame.solver == "iteration")]
    frame = frame[(frame.sampler == "ddpm") & (frame.budget == budget) & frame.reuse.astype(bool)]
    zero = _some(frame, f"no pre/post layers at {budget}", n_pre=0)
    frame = frame[frame.n_max.isin(zero.n_max) & frame.iterations.isin(zero.iterations)]
    return {n: _some(frame, f"{n} pre/post layers at {budget}", n_pre=n) for n in (0, 1, 2, 4)}


def one_layer(evidence: Evidence) -> Finding:
    """1, 2 and 4 pre/post layers each below none at each budget, each at its best iterations."""
    verdicts, texts = [], []
    for budget in (140, 280, 560):
        layers = _layers(evidence, budget)
        for n in (1, 2, 4):
            found = _between_best(evidence, layers[n], layers[0], budget)
            verdicts.append(below(found))
            texts.append(f"{n}/0 at {budget}: {found}")
    return Finding(both(*verdicts), "; ".join(texts))


def _between_best(evidence: Evidence, a: pd.DataFrame, b: pd.DataFrame, budget: int) -> Ratio:
    once = sum(frame.train_seed.nunique() < frame.seed.nunique() for frame in (a, b))
    k = int(a.iterations.min())
    return ratio(best(a), best(b), once * _training_variance(evidence, budget, k) if once else 0.0)


def layers_and_budget(evidence: Evidence) -> Finding:
    """At 140 passes 1 layer below 2 and 4; at 560 the better of 2 and 4 below 1."""
    small, large = _layers(evidence, 140), _layers(evidence, 560)
    at_small = [_between_best(evidence, small[1], small[n], 140) for n in (2, 4)]
    at_large = [_between_best(evidence, large[n], large[1], 560) for n in (2, 4)]
    better = min(at_large, key=lambda found: found.estimate)
    text = f"at 140, 1/2: {at_small[0]}, 1/4: {at_small[1]}; at 560, 2/1: {at_large[0]}, 4/1: {at_large[1]}"
    return Finding(both(*(below(found) for found in at_small), below(better)), text)


def _trained(evidence: Evidence, policy: str, n: int, iterations: tuple[int, ...] = (5,)) -> pd.DataFrame:
    frame = evidence.frame
    frame = frame[(frame.allocation == "constant") & (frame.solver == "iteration") & (frame.sampler == "ddpm")]
    frame = frame[(frame.budget == 280) & (frame.n_pre == 1) & frame.reuse.astype(bool)]
    return _some(frame, f"{policy} with N = {n}", unroll=policy, n_max=n, iterations=iterations)


def unrolling(evidence: Evidence) -> Finding:
    """M = N of 3 and 6, together, below 12 and below 24, at 5 iterations."""
    runs = {n: _trained(evidence, "stochastic", n) for n in (3, 6, 12, 24)}
    good = pd.concat([runs[3], runs[6]])
    variance = _training_variance(evidence, 280, 5)
    found = {n: ratio(by_seed(runs[n]), by_seed(good), 1.5 * variance) for n in (12, 24)}  # 1 + 1/2: one seed, half
    text = "; ".join(f"M=N={n} over 3 and 6: {r}" for n, r in found.items())
    return Finding(both(*(above(r) for r in found.values())), text)


def _methods(evidence: Evidence, a: str, b: str) -> dict[int, Ratio]:
    return {n: between_runs(evidence, _trained(evidence, a, n), _trained(evidence, b, n), 280, 5) for n in (6, 12)}


def jfb_fails(evidence: Evidence) -> Finding:
    """FD of 1-step JFB more than twice that of stochastic JFB, for N = 6 and 12, at 5 iterations."""
    found = _methods(evidence, "jfb", "stochastic")
    text = "; ".join(f"N={n}: JFB / stochastic {r}" for n, r in found.items())
    return Finding(both(*(above(r, FAILURE) for r in found.values())), text)


def multi_step_helps(evidence: Evidence) -> Finding:
    """Multi-step JFB below JFB, for N = 6 and 12, at 5 iterations."""
    found = _methods(evidence, "multi-step", "jfb")
    text = "; ".join(f"N={n}: multi-step / JFB {r}" for n, r in found.items())
    return Finding(both(*(below(r) for r in found.values())), text)


def stochastic_helps_more(evidence: Evidence) -> Finding:
    """Stochastic JFB below multi-step JFB, for N = 6 and 12, at 5 iterations."""
    found = _methods(evidence, "stochastic", "multi-step")
    text = "; ".join(f"N={n}: stochastic / multi-step {r}" for n, r in found.items())
    return Finding(both(*(below(r) for r in found.values())), text)


def cost(evidence: Evidence) -> Finding:
    """Seconds a block pass of FPDM within a factor of 1.1 of DiT's, at 26 iterations and each budget together."""
    frame = _own(evidence)
    frame = _some(frame[frame.sampler == "ddpm"], "both twins", iterations=26)
    if frame.images_per_s.isna().any():
        raise UntestedError("times of one machine")
    frame = frame.assign(
        seconds=1 / (frame.images_per_s * frame.block_passes), macs_each=frame.macs / frame.block_passes
    )
    fpdm, dit = (_some(frame, model, model=model) for model in ("fpdm", "dit"))
    found = ratio(by_seed(fpdm, "seconds"), by_seed(dit, "seconds"))
    macs = fpdm.macs_each.mean() / dit.macs_each.mean()
    return Finding(within(found, NEGLIGIBLE), f"seconds a pass, FPDM/DiT {found}; MACs a pass, FPDM/DiT {macs:.2f}")


def orthogonal(evidence: Evidence) -> Finding:
    """The best FPDM of 2 and 5 iterations below DiT with each of four samplers, at 140 and 280 passes."""
    found = {
        (s, b): _against_dit(evidence, b, s, (2, 5))[0]
        for s, b in product(("ddpm", "ddim", "dpm++", "unipc"), (140, 280))
    }
    text = "; ".join(f"{s} at {b}: {r}" for (s, b), r in found.items())
    return Finding(both(*(below(r) for r in found.values())), text)


def other_datasets(evidence: Evidence) -> Finding:
    """Needs the suites of the paper."""
    raise UntestedError("suites celebahq, ffhq, church and imagenet, which need a cluster")


def beyond_560(evidence: Evidence) -> Finding:
    """Needs budgets above 560."""
    raise UntestedError("a budget above 560 passes")
