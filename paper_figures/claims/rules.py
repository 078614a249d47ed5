"""The rules that turn records into verdicts on the paper's claims.

Each takes the evidence and returns a `Finding`, or raises `UntestedError`; its docstring is the rule as printed. A rule
needs all the cells that it asks for: one missing record leaves it untested, since what is left may be another sample.
Where FPDM's schedule has to be chosen, it is chosen on the replicates that do not score it (`intervals.best`). What was
changed after the numbers were known is in `claims.AMENDMENTS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from bench.spec.cells import Cell
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import Ratio, Verdict, above, below, best, both, by_seed, ratio, within
from paper_figures.evidence.other_suites import beside
from paper_figures.evidence.pairing import UntestedError, between_runs, lent, own_twins, some, with_absent

COMPARABLE = 1.5  # two FIDs within this factor are "comparable": the paper says so of 26.1 to 37.9 and of 19.6 to 16.5
FAILURE = 2.0  # a training method "fails" if its FID is more than this many times the paper's method's
NEGLIGIBLE = 1.1  # differences within this factor are "negligible"


@dataclass(frozen=True)
class Finding:
    """A verdict and the numbers that it rests on."""

    verdict: Verdict
    measured: str


def _against_dit(evidence: Evidence, budget: int, sampler: str, iterations: tuple[int, ...] = ()) -> Ratio:
    frame = own_twins(evidence)
    chosen = {"budget": budget, "sampler": sampler}
    dit = by_seed(some(frame, f"DiT at {budget}, {sampler}", model="dit", **chosen))
    wanted = {"iterations": iterations} if iterations else {}
    fpdm = best(some(frame, f"FPDM at {budget}, {sampler}", model="fpdm", **chosen, **wanted))
    return ratio(fpdm, dit, apart=True)


def comparable(found: Ratio) -> Verdict:
    """Whether the two sides are comparable."""
    return within(found, COMPARABLE)


# budget -> what Table 1 says of the best FPDM over DiT
TABLE1: dict[int, Callable[[Ratio], Verdict]] = {140: below, 280: below, 560: comparable}


def at_budget(
    evidence: Evidence, budget: int, rule: Callable[[Ratio], Verdict], samplers: tuple[str, ...] = ("ddpm", "ddim")
) -> Finding:
    """FPDM over DiT at a budget: the rule has to hold with each of the samplers."""
    found = {s: _against_dit(evidence, budget, s) for s in samplers}
    text = "; ".join(f"{s.upper()}: FPDM/DiT {r}" for s, r in found.items())
    return Finding(both(*map(rule, found.values())), text)


def better_at(budget: int) -> Callable[[Evidence], Finding]:
    """The rule for one budget."""

    def rule(evidence: Evidence) -> Finding:
        return at_budget(evidence, budget, TABLE1[budget])

    rule.__doc__ = f"The best FPDM below DiT at {budget} passes, with DDPM and with DDIM."
    return rule


def comparable_at_560(evidence: Evidence) -> Finding:
    """Within a factor of 1.5 of DiT, with DDPM and with DDIM."""
    return at_budget(evidence, 560, TABLE1[560])


def ddpm_but_not_ddim(evidence: Evidence) -> Finding:
    """At 560, below DiT with DDPM and above it with DDIM."""
    ddpm, ddim = (_against_dit(evidence, 560, s) for s in ("ddpm", "ddim"))
    return Finding(both(below(ddpm), above(ddim)), f"DDPM: FPDM/DiT {ddpm}; DDIM: {ddim}")


def optimum(evidence: Evidence) -> Finding:
    """The best schedule of 4 to 8 iterations below the best one outside, each chosen on other replicates."""
    fpdm = some(own_twins(evidence), "FPDM at 280", model="fpdm", budget=280, sampler="ddpm")
    inside = fpdm.iterations.between(4, 8)
    if not inside.any() or inside.all():
        raise UntestedError("no record on both sides of 4 to 8 iterations")
    means = fpdm.groupby("iterations").fid.mean()
    text = f"iterations with the best mean: {means.idxmin()}; best of 4-8 over best outside "
    found = ratio(best(fpdm[inside]), best(fpdm[~inside]))
    return Finding(below(found), text + str(found))


def worse_at_equal_iterations(evidence: Evidence) -> Finding:
    """FPDM at 26 iterations above DiT, equal timesteps, at 280 passes with DDPM."""
    found = _against_dit(evidence, 280, "ddpm", (26,))
    return Finding(above(found), f"FPDM at 26 iterations / DiT {found}")


def allocation(evidence: Evidence) -> Finding:
    """Increasing below constant and constant below decreasing, over the iterations of Table 5 together."""
    frame = with_absent(evidence)
    frame = frame[(frame.solver == "iteration") & (frame.sampler == "ddpm") & (frame.budget == 280)]
    ks = sorted(set(some(frame, "increasing allocation", allocation="increasing").iterations))
    twin = set(own_twins(evidence).train_run)
    by_name = {
        name: by_seed(
            some(frame[frame.train_run.isin(twin)], f"{name} allocation", allocation=name, iterations=ks, reuse=True)
        )
        for name in ("increasing", "constant", "decreasing")
    }
    first = ratio(by_name["increasing"], by_name["constant"])
    second = ratio(by_name["constant"], by_name["decreasing"])
    return Finding(both(below(first), below(second)), f"increasing/constant {first}; constant/decreasing {second}")


def reuse(evidence: Evidence) -> Finding:
    """With reuse lower at 1 to 3 iterations; within a factor of 1.1 at 12 and more."""
    frame = with_absent(evidence)
    frame = frame[(frame.model == "fpdm") & (frame.allocation == "constant") & (frame.solver == "iteration")]
    frame = frame[(frame.budget == 280) & (frame.sampler == "ddpm")]
    cold = some(frame, "sampling without reuse", reuse=False)
    warm = some(frame, "sampling with reuse", reuse=True, train_run=list(set(cold.train_run)))
    few, many = (
        ratio(by_seed(warm[warm.iterations.isin(ks)]), by_seed(cold[cold.iterations.isin(ks)]))
        for ks in ((1, 2, 3), tuple(k for k in set(cold.iterations) if k >= 12))
    )
    text = f"with/without reuse at 1-3 iterations {few}; at 12 and more {many}"
    return Finding(both(below(few), within(many, NEGLIGIBLE)), text)


def _residual_gain(evidence: Evidence) -> np.ndarray:
    """Log ratio of residuals at iteration 5 with over without reuse, (replicates, steps), from noise to image.

    The first step is left out: it has nothing to reuse.
    """
    asked = [cell for cell in evidence.cells if cell.measure == "convergence"]
    found = {
        (cell.seed, cell.reuse): np.asarray(record.series["residuals"])[:, :, 4].mean(0)
        for cell, record in evidence.records("convergence")
        if isinstance(cell, Cell)
    }
    if not asked or len(found) < len(asked):
        raise UntestedError(f"{len(asked) - len(found) or 'the'} missing records of convergence")
    seeds = sorted({seed for seed, _ in found})
    return np.array([np.log(found[seed, True]) - np.log(found[seed, False]) for seed in seeds])[:, 1:]


def reuse_by_timestep(evidence: Evidence) -> Finding:
    """Residual at iteration 5 lower with reuse at each step past the noisiest quarter; contradicted at half or less."""
    gain = _residual_gain(evidence).mean(0)
    noisiest, rest = np.split(gain, [len(gain) // 4])
    share = float((rest < 0).mean())
    text = (
        f"lower at {share:.0%} of the steps past the noisiest quarter; median ratio there {np.exp(np.median(rest)):.2f}"
        f"; in the noisiest quarter lower at {(noisiest < 0).mean():.0%}, {np.exp(np.median(noisiest)):.2f}"
    )
    verdict = Verdict.CONFIRMED if share == 1 else Verdict.CONTRADICTED if share <= 0.5 else Verdict.INCONCLUSIVE
    return Finding(verdict, text)


def reuse_at_little_noise(evidence: Evidence) -> Finding:
    """With over without reuse, the residual at iteration 5 is lower in the less noisy half of the steps."""
    gain = _residual_gain(evidence)
    noisy, little = np.exp(gain[:, : gain.shape[1] // 2].mean(1)), np.exp(gain[:, gain.shape[1] // 2 :].mean(1))
    found = ratio(pd.Series(little), pd.Series(noisy))
    text = f"geometric means: less noisy half {little.mean():.2f}, noisier half {noisy.mean():.2f}; their ratio {found}"
    return Finding(below(found), text)


def _layers(evidence: Evidence, budget: int) -> dict[int, pd.DataFrame]:
    frame = with_absent(evidence)
    frame = frame[(frame.unroll == "stochastic") & (frame.allocation == "constant") & (frame.solver == "iteration")]
    frame = frame[(frame.sampler == "ddpm") & (frame.budget == budget) & frame.reuse.astype(bool)]
    zero = some(frame, f"no pre/post layers at {budget}", n_pre=0)
    frame = frame[frame.n_max.isin(zero.n_max) & frame.iterations.isin(zero.iterations)]
    return {n: some(frame, f"{n} pre/post layers at {budget}", n_pre=n) for n in (0, 1, 2, 4)}


def one_layer(evidence: Evidence) -> Finding:
    """1, 2 and 4 pre/post layers each below none at each budget, each at its best iterations."""
    verdicts, texts = [], []
    for budget in (140, 280, 560):
        layers = _layers(evidence, budget)
        for n in (1, 2, 4):
            found = between_runs(evidence, layers[n], layers[0])
            verdicts.append(below(found))
            texts.append(f"{n}/0 at {budget}: {found}")
    return Finding(both(*verdicts), "; ".join(texts))


def layers_and_budget(evidence: Evidence) -> Finding:
    """At 140 passes 1 layer below 2 and 4; at 560 the better of 2 and 4 below 1."""
    small, large = _layers(evidence, 140), _layers(evidence, 560)
    at_small = [between_runs(evidence, small[1], small[n]) for n in (2, 4)]
    at_large = [between_runs(evidence, large[n], large[1]) for n in (2, 4)]
    better = min(at_large, key=lambda found: found.estimate)
    text = f"at 140, 1/2: {at_small[0]}, 1/4: {at_small[1]}; at 560, 2/1: {at_large[0]}, 4/1: {at_large[1]}"
    return Finding(both(*(below(found) for found in at_small), below(better)), text)


def _trained(evidence: Evidence, policy: str, n: int, iterations: tuple[int, ...] = (5,)) -> pd.DataFrame:
    frame = with_absent(evidence)
    frame = frame[(frame.allocation == "constant") & (frame.solver == "iteration") & (frame.sampler == "ddpm")]
    frame = frame[(frame.budget == 280) & (frame.n_pre == 1) & frame.reuse.astype(bool)]
    return some(frame, f"{policy} with N = {n}", unroll=policy, n_max=n, iterations=iterations)


def unrolling(evidence: Evidence) -> Finding:
    """M = N of 3 and 6, together, below 12 and below 24, at 5 iterations."""
    runs = {n: _trained(evidence, "stochastic", n) for n in (3, 6, 12, 24)}
    good, of_one = by_seed(pd.concat([runs[3], runs[6]])), [lent(evidence, runs[n]) for n in (3, 6)]
    found = {  # of a geometric mean of two, each gives a quarter of its variance
        n: ratio(by_seed(runs[n]), good, (lent(evidence, runs[n]), sum(of_one) / 4), apart=True) for n in (12, 24)
    }
    text = "; ".join(f"M=N={n} over 3 and 6: {r}" for n, r in found.items())
    return Finding(both(*(above(r) for r in found.values())), text)


def _methods(evidence: Evidence, a: str, b: str, rule: Callable[[Ratio], Verdict]) -> Finding:
    """FD of gradient a over gradient b: the rule has to hold for N = 6 and 12."""
    found = {n: between_runs(evidence, _trained(evidence, a, n), _trained(evidence, b, n)) for n in (6, 12)}
    name = f"{a} / {b}".replace("jfb", "JFB")
    return Finding(both(*map(rule, found.values())), "; ".join(f"N={n}: {name} {r}" for n, r in found.items()))


def jfb_fails(evidence: Evidence) -> Finding:
    """FD of 1-step JFB more than twice that of stochastic JFB, for N = 6 and 12, at 5 iterations."""
    return _methods(evidence, "jfb", "stochastic", lambda found: above(found, FAILURE))


def multi_step_helps(evidence: Evidence) -> Finding:
    """Multi-step JFB below JFB, for N = 6 and 12, at 5 iterations."""
    return _methods(evidence, "multi-step", "jfb", below)


def stochastic_helps_more(evidence: Evidence) -> Finding:
    """Stochastic JFB below multi-step JFB, for N = 6 and 12, at 5 iterations."""
    return _methods(evidence, "stochastic", "multi-step", below)


def orthogonal(evidence: Evidence) -> Finding:
    """The best FPDM of 2 and 5 iterations below DiT with each of four samplers, at 140 and 280 passes."""
    found = {
        (s, b): _against_dit(evidence, b, s, (2, 5)) for s, b in product(("ddpm", "ddim", "dpm++", "unipc"), (140, 280))
    }
    text = "; ".join(f"{s} at {b}: {r}" for (s, b), r in found.items())
    return Finding(both(*(below(r) for r in found.values())), text)


def other_datasets(evidence: Evidence) -> Finding:
    """The best FPDM below DiT at 280 passes with DDPM, on each of the paper's four datasets."""
    datasets = {name: beside(evidence, name, "datasets") for name in ("celebahq", "ffhq", "church", "imagenet")}
    if absent := [name for name, other in datasets.items() if other.frame.empty]:
        names = " and ".join([", ".join(absent[:-1]), absent[-1]] if len(absent) > 1 else absent)
        raise UntestedError(f"suites {names}, which need a cluster")
    found = {name: _against_dit(other, 280, "ddpm") for name, other in datasets.items()}
    text = "; ".join(f"{name}: FPDM/DiT {r}" for name, r in found.items())
    return Finding(both(*(below(r) for r in found.values())), text)


def beyond_560(evidence: Evidence) -> Finding:
    """The best FPDM above DiT at 1120 passes, with DDPM and with DDIM."""
    return at_budget(evidence, 1120, above)
