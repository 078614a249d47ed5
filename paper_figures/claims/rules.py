"""The rules on quality: Table 1, schedules, reuse, layers, training, samplers, datasets.

A rule needs all the cells that it asks for: one missing record leaves it untested, since what is left may be another
sample. A schedule that has to be chosen is chosen on the replicates that do not score it (`intervals.best`). Changes
that were made after the numbers were known are in `ledger.AMENDMENTS`.
"""

import numpy as np
import pandas as pd

from bench.spec.cells import Cell
from models.diffusion.samplers import label_of
from paper_figures.claims.findings import Finding, Rule, judged, negligible, rule
from paper_figures.evidence.comparisons import against, chosen, disagreement
from paper_figures.evidence.criteria import Criterion, above, at_least, below, within
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import Ratio, best, by_seed, ratio
from paper_figures.evidence.other_suites import beside
from paper_figures.evidence.pairing import UntestedError, of_subject, own, some

COMPARABLE = 1.5  # two FIDs within this factor are "comparable": the paper says so of 26.1 to 37.9 and of 19.6 to 16.5
ORTHOGONAL = 2.0  # gains within this factor are "orthogonal" to the sampler: the paper's two are 1.9 apart
FAILURE = 2.0  # a training method "fails" if its FID is more than this many times the paper's method's
PLAIN = {"allocation": "constant", "solver": "iteration", "sampler": "ddpm"}  # how the subject is sampled by default


def sides(evidence: Evidence) -> str:
    """The labels of subject and baseline, as of a ratio."""
    return f"{evidence.compared.subject.label}/{evidence.compared.baseline.label}"


def _against_baseline(
    evidence: Evidence, budget: int, sampler: str, iterations: tuple[int, ...] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cells of subject and baseline at a budget, one a replicate, the subject's at its best schedule."""
    baseline, subject = evidence.compared.baseline, evidence.compared.subject
    frame, at = own(evidence, budget=budget, sampler=sampler), f"at {budget}, {sampler}"
    wanted = {"iterations": iterations} if iterations else {}
    theirs = some(frame, f"{baseline.label} {at}", model=baseline.name)
    return chosen(some(frame, f"{subject.label} {at}", model=subject.name, **wanted)), theirs


def _quotient(cells: tuple[pd.DataFrame, pd.DataFrame]) -> Ratio:
    """The ratio of subject to baseline."""
    ours, theirs = cells
    return ratio(by_seed(ours), by_seed(theirs))


comparable = within(COMPARABLE)
# budget -> what Table 1 says of the best FPDM over DiT
TABLE1: dict[int, Criterion] = {140: below, 280: below, 560: comparable}


def at_budget(
    evidence: Evidence, budget: int, criterion: Criterion, samplers: tuple[str, ...] = ("ddpm", "ddim")
) -> Finding:
    """Subject over baseline at a budget: the criterion has to be met with each of the samplers."""
    cells = {s: _against_baseline(evidence, budget, s) for s in samplers}
    found = {f"{label_of(s)}: {sides(evidence)}": _quotient(both) for s, both in cells.items()}
    others = [disagreement(r, *both) for r, both in zip(found.values(), cells.values(), strict=True)]
    text = "; ".join(f"{name} {r}{other}" for (name, r), other in zip(found.items(), others, strict=True))
    return judged(text, (criterion, found))


def better_at(budget: int) -> Rule:
    """The rule for one budget."""
    text = f"The best FPDM below DiT at {budget} passes, with DDPM and with DDIM"
    return Rule(text, lambda evidence: at_budget(evidence, budget, TABLE1[budget]))


@rule("Within a factor of 1.5 of DiT, with DDPM and with DDIM")
def comparable_at_560(evidence: Evidence) -> Finding:
    return at_budget(evidence, 560, TABLE1[560])


@rule("At 560, below DiT with DDPM and above it with DDIM")
def ddpm_but_not_ddim(evidence: Evidence) -> Finding:
    ddpm, ddim = (_quotient(_against_baseline(evidence, 560, s)) for s in ("ddpm", "ddim"))
    names = [f"{sampler}: {sides(evidence)}" for sampler in ("DDPM", "DDIM")]
    return judged(f"{names[0]} {ddpm}; DDIM: {ddim}", (below, {names[0]: ddpm}), (above, {names[1]: ddim}))


@rule("The best FPDM above DiT at 1120 passes, with DDPM and with DDIM")
def beyond_560(evidence: Evidence) -> Finding:
    return at_budget(evidence, 1120, above)


@rule("The best FPDM below DiT at 280 passes with DDPM, on each of the paper's four datasets")
def other_datasets(evidence: Evidence) -> Finding:
    datasets = {name: beside(evidence, name, "datasets") for name in ("celebahq", "ffhq", "church", "imagenet")}
    if absent := [name for name, other in datasets.items() if other.frame.empty]:
        names = " and ".join([", ".join(absent[:-1]), absent[-1]] if len(absent) > 1 else absent)
        raise UntestedError(f"suites {names}, which need a cluster")
    found = {name: _quotient(_against_baseline(other, 280, "ddpm")) for name, other in datasets.items()}
    text = "; ".join(f"{name}: {sides(datasets[name])} {r}" for name, r in found.items())
    return judged(text, (below, found))


@rule("The best schedule of 4 to 8 iterations below the best one outside, each chosen on other replicates")
def optimum(evidence: Evidence) -> Finding:
    subject = evidence.compared.subject
    cells = some(own(evidence), f"{subject.label} at 280", model=subject.name, budget=280, sampler="ddpm")
    inside = cells.iterations.between(4, 8)
    if not inside.any() or inside.all():
        raise UntestedError("no record on both sides of 4 to 8 iterations")
    means = cells.groupby("iterations").fid.mean()
    found = ratio(best(cells[inside]), best(cells[~inside]))
    text = f"iterations with the best mean: {means.idxmin()}; best of 4-8 over best outside {found}"
    return judged(text, (below, {"best of 4-8 / best outside": found}))


@rule("FPDM at 26 iterations above DiT, equal timesteps, at 280 passes with DDPM")
def worse_at_equal_iterations(evidence: Evidence) -> Finding:
    suite, found = evidence.compared, _quotient(_against_baseline(evidence, 280, "ddpm", (26,)))
    name = f"{suite.subject.label} at 26 iterations / {suite.baseline.label}"
    return judged(f"{name} {found}", (above, {name: found}))


@rule("Increasing below constant and constant below decreasing, over the iterations of Table 5 together")
def allocation(evidence: Evidence) -> Finding:
    frame = of_subject(evidence, solver="iteration", sampler="ddpm", budget=280)
    ks = sorted(set(some(frame, "increasing allocation", allocation="increasing").iterations))
    same = {"iterations": ks, "reuse": True, "train_run": [*own(evidence).train_run]}
    increasing, constant, decreasing = (
        by_seed(some(frame, f"{name} allocation", allocation=name, **same))
        for name in ("increasing", "constant", "decreasing")
    )
    found = {
        "increasing/constant": ratio(increasing, constant),
        "constant/decreasing": ratio(constant, decreasing),
    }
    return judged("; ".join(f"{name} {r}" for name, r in found.items()), (below, found))


@rule("With reuse lower at 1 to 3 iterations; within a factor of 1.1 at 12 and more")
def reuse(evidence: Evidence) -> Finding:
    frame = of_subject(evidence, **PLAIN, budget=280)
    cold = some(frame, "sampling without reuse", reuse=False)
    warm = some(frame, "sampling with reuse", reuse=True, train_run=list(set(cold.train_run)))
    few, many = (
        ratio(by_seed(warm[warm.iterations.isin(ks)]), by_seed(cold[cold.iterations.isin(ks)]))
        for ks in ((1, 2, 3), tuple(k for k in set(cold.iterations) if k >= 12))
    )
    text = f"with/without reuse at 1-3 iterations {few}; at 12 and more {many}"
    return judged(text, (below, {"at 1-3": few}), (negligible, {"at 12 and more": many}))


def _residual_gain(evidence: Evidence) -> np.ndarray:
    """Log ratio of residuals at iteration 5 with over without reuse, (replicates, steps), from noise to image.

    The first step is left out: it has nothing to reuse.
    """
    subject = evidence.compared.subject_name
    asked = [c for c in evidence.cells if isinstance(c, Cell) and c.measure == "convergence" and c.model == subject]
    found = {
        (cell.seed, cell.reuse): np.asarray(record.series["residuals"])[:, :, 4].mean(0)
        for cell, record in evidence.records("convergence")
        if isinstance(cell, Cell) and cell.model == subject
    }
    if not asked or len(found) < len(asked):
        raise UntestedError(f"{len(asked) - len(found) or 'the'} missing records of convergence")
    seeds = sorted({seed for seed, _ in found})
    return np.array([np.log(found[seed, True]) - np.log(found[seed, False]) for seed in seeds])[:, 1:]


@rule("Residual at iteration 5 lower with reuse at each step past the noisiest quarter")
def reuse_by_timestep(evidence: Evidence) -> Finding:
    gain = _residual_gain(evidence)
    means, first = gain.mean(0), gain.shape[1] // 4
    noisiest, rest = np.split(means, [first])
    text = (
        f"lower at {(rest < 0).mean():.0%} of the steps past the noisiest quarter; median ratio there "
        f"{np.exp(np.median(rest)):.2f}; in the noisiest quarter lower at {(noisiest < 0).mean():.0%}, "
        f"{np.exp(np.median(noisiest)):.2f}"
    )
    one = pd.Series(1.0, index=range(len(gain)))
    steps = {f"step {i + 2}": ratio(pd.Series(np.exp(gain[:, i])), one) for i in range(first, gain.shape[1])}
    return judged(text, (below, steps))


@rule("With over without reuse, the residual at iteration 5 is lower in the less noisy half of the steps")
def reuse_at_little_noise(evidence: Evidence) -> Finding:
    gain = _residual_gain(evidence)
    noisy, little = np.exp(gain[:, : gain.shape[1] // 2].mean(1)), np.exp(gain[:, gain.shape[1] // 2 :].mean(1))
    found = ratio(pd.Series(little), pd.Series(noisy))
    text = f"geometric means: less noisy half {little.mean():.2f}, noisier half {noisy.mean():.2f}; their ratio {found}"
    return judged(text, (below, {"less noisy / noisier half": found}))


def _paired(a: pd.DataFrame, b: pd.DataFrame) -> Ratio:
    """FD of a over b in the replicates that both have, each at its best iterations if there are several."""
    if (found := against(a, b)) is None:
        raise UntestedError("no replicate that both sides of a comparison have")
    return found


def _layers(evidence: Evidence, budget: int) -> dict[int, pd.DataFrame]:
    """The subject's cells by pre/post layers, at the recipe and iterations of those without."""
    frame = of_subject(evidence, **PLAIN, unroll="stochastic", budget=budget, reuse=True)
    zero = some(frame, f"no pre/post layers at {budget}", n_pre=0)
    same = {"n_max": [*zero.n_max], "iterations": [*zero.iterations]}
    return {n: some(frame, f"{n} pre/post layers at {budget}", n_pre=n, **same) for n in (0, 1, 2, 4)}


@rule("1, 2 and 4 pre/post layers each below none at each budget, each at its best iterations")
def one_layer(evidence: Evidence) -> Finding:
    found: dict[str, Ratio] = {}
    for budget in (140, 280, 560):
        layers = _layers(evidence, budget)
        found |= {f"{n}/0 at {budget}": _paired(layers[n], layers[0]) for n in (1, 2, 4)}
    return judged("; ".join(f"{name}: {r}" for name, r in found.items()), (below, found))


@rule("At 140 passes 1 layer below 2 and 4; at 560 the better of 2 and 4 below 1")
def layers_and_budget(evidence: Evidence) -> Finding:
    small, large = _layers(evidence, 140), _layers(evidence, 560)
    at_small = {f"1/{n}": _paired(small[1], small[n]) for n in (2, 4)}
    at_large = {f"{n}/1": _paired(large[n], large[1]) for n in (2, 4)}
    better = min(at_large, key=lambda name: at_large[name].estimate)
    texts = [", ".join(f"{name}: {r}" for name, r in found.items()) for found in (at_small, at_large)]
    tested = {f"{name} at 140": r for name, r in at_small.items()} | {f"{better} at 560": at_large[better]}
    return judged(f"at 140, {texts[0]}; at 560, {texts[1]}", (below, tested))


def _trained(evidence: Evidence, policy: str, n: int) -> pd.DataFrame:
    """The subject's cells at 5 iterations, trained with a policy and N."""
    frame = of_subject(evidence, **PLAIN, budget=280, n_pre=1, reuse=True)
    return some(frame, f"{policy} with N = {n}", unroll=policy, n_max=n, iterations=5)


@rule("M = N of 3 and 6, together, below 12 and below 24, at 5 iterations")
def unrolling(evidence: Evidence) -> Finding:
    runs = {n: _trained(evidence, "stochastic", n) for n in (3, 6, 12, 24)}
    both = pd.concat([runs[3], runs[6]])
    good = by_seed(both[both.seed.isin({*runs[3].seed} & {*runs[6].seed})])
    found = {n: ratio(by_seed(runs[n]), good) for n in (12, 24)}
    named = {f"M=N={n} over 3 and 6": r for n, r in found.items()}
    return judged("; ".join(f"{name}: {r}" for name, r in named.items()), (above, named))


def _methods(evidence: Evidence, a: str, b: str, criterion: Criterion) -> Finding:
    """FD of gradient a over gradient b: the criterion has to be met for N = 6 and 12."""
    found = {n: _paired(_trained(evidence, a, n), _trained(evidence, b, n)) for n in (6, 12)}
    name = f"{a} / {b}".replace("jfb", "JFB")
    named = {f"N={n}: {name}": r for n, r in found.items()}
    return judged("; ".join(f"{name} {r}" for name, r in named.items()), (criterion, named))


@rule("FD of 1-step JFB more than twice that of stochastic JFB, for N = 6 and 12, at 5 iterations")
def jfb_fails(evidence: Evidence) -> Finding:
    return _methods(evidence, "jfb", "stochastic", at_least(FAILURE))


@rule("Multi-step JFB below JFB, for N = 6 and 12, at 5 iterations")
def multi_step_helps(evidence: Evidence) -> Finding:
    return _methods(evidence, "multi-step", "jfb", below)


@rule("Stochastic JFB below multi-step JFB, for N = 6 and 12, at 5 iterations")
def stochastic_helps_more(evidence: Evidence) -> Finding:
    return _methods(evidence, "stochastic", "multi-step", below)


@rule(
    f"FPDM of 2 or 5 iterations over DiT: with DDIM, DPM-Solver++ and UniPC within a factor of {ORTHOGONAL:g} of that "
    "with DDPM, at 140 and 280 passes"
)
def orthogonal(evidence: Evidence) -> Finding:
    found: dict[str, Ratio] = {}
    for budget in (140, 280):
        gains = {}
        for sampler in ("ddpm", "ddim", "dpm++", "unipc"):
            ours, theirs = _against_baseline(evidence, budget, sampler, (2, 5))
            gains[sampler] = by_seed(ours) / by_seed(theirs)
        for sampler in ("ddim", "dpm++", "unipc"):
            found[f"{label_of(sampler)} / DDPM at {budget}"] = ratio(gains[sampler], gains["ddpm"])
    text = "; ".join(f"{name}: {r}" for name, r in found.items())
    return judged(f"ratio of ratios, {text}", (within(ORTHOGONAL), found))
