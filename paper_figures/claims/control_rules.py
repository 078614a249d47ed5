"""The rules of our own claims: what the subject's lead over the baseline is made of.

Controls are found by what they are, not by their names. Each contender is at the best of its schedules in the grid
`controls`, chosen on the replicates that do not score it; all that iterate choose among the same iterations. As in
`rules.py`, one missing record leaves a rule untested; so does a suite without the control.
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import product

import pandas as pd

from bench.spec.contenders import Contender, Suite
from bench.spec.grids.controls import ITERATIONS
from bench.spec.measurements import BUDGETS
from models.diffusion.samplers import label_of
from models.families import forward_passes, parameters
from paper_figures.claims.findings import NEGLIGIBLE, Finding, judged, rule
from paper_figures.evidence.comparisons import at_best, chosen, disagreement
from paper_figures.evidence.criteria import Criterion, at_most, below
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import Ratio, by_seed, ratio
from paper_figures.evidence.pairing import UntestedError, own, some, where

SAMPLERS = ("ddpm", "ddim")
EVERYWHERE = "at 140, 280 and 560 passes, with DDPM and with DDIM"


def shallow(suite: Suite) -> list[Contender]:
    """Contenders of the baseline's family with fewer blocks and weights of their own."""
    baseline = suite.baseline
    return [
        one
        for one in suite.contenders
        if one.family == baseline.family and not one.weights_of and one.config.depth < baseline.config.depth
    ]


def as_shallow(suite: Suite) -> Contender:
    """The shallow contender whose block passes are the subject's with one iteration."""
    depth = forward_passes(suite.subject.config, 1)
    what = f"{suite.baseline.family.label} of {depth} blocks"
    return _first((one for one in shallow(suite) if forward_passes(one.config) == depth), what)


def of_equal_parameters(suite: Suite) -> Contender:
    """The shallow contender whose number of parameters is nearest to the subject's."""
    ours = parameters(suite.subject.config)
    nearest = sorted(shallow(suite), key=lambda one: abs(parameters(one.config) - ours))
    return _first(nearest, f"{suite.baseline.family.label} with fewer blocks")


def without_injection(suite: Suite) -> Contender:
    """The contender that iterates the subject's blocks, trained itself, without injections."""
    same = _blocks(suite.subject)
    found = (one for one in suite.contenders if one.family.iterates and not one.weights_of and _blocks(one) == same)
    without = (one for one in found if one.family.injections(one.config, 1) == 0)
    return _first(without, f"loop of {suite.subject.label}'s blocks without injections")


def cached(suite: Suite) -> Contender:
    """The contender of another family that samples with the baseline's weights and carries a state."""
    borrowers = (one for one in suite.contenders if one.weights_of == suite.baseline_name)
    found = (one for one in borrowers if one.family != suite.baseline.family and one.family.carries_state)
    return _first(found, f"contender that samples with {suite.baseline.label}'s weights")


def _blocks(one: Contender) -> tuple[tuple[int, int, int], int]:
    """Where the blocks of a contender that iterates are, and how many are in its loop."""
    return one.family.layout(one.config, 1), one.config.loop_blocks


def _first(found: Iterable[Contender], what: str) -> Contender:
    for one in found:
        return one
    raise UntestedError(f"no {what} in this suite")


def _schedules(frame: pd.DataFrame, one: Contender, budget: int, sampler: str) -> pd.DataFrame:
    """A contender's cells at a budget, one for each schedule that it has in the grid `controls`."""
    wanted = {"iterations": one.numbers(ITERATIONS)} if one.chooses else {}
    return some(frame, f"{one.label} at {budget}, {sampler}", model=one.name, budget=budget, sampler=sampler, **wanted)


def _over(evidence: Evidence, a: Contender, b: Contender, criterion: Criterion) -> Finding:
    """FD of one contender over another's: the criterion has to be met at each budget with each sampler."""
    frame = own(evidence)
    found: dict[str, Ratio] = {}
    parts = []
    for sampler, budget in product(SAMPLERS, BUDGETS):
        ours, theirs = (chosen(_schedules(frame, one, budget, sampler)) for one in (a, b))
        name = f"{label_of(sampler)} at {budget}"
        found[name] = ratio(by_seed(ours), by_seed(theirs))
        parts.append(f"{name}: {found[name]}{disagreement(found[name], ours, theirs)}")
    text = "; ".join(parts)
    return judged(f"{at_best(a)} / {at_best(b)}, {text}", (criterion, found))


@rule(
    f"The DiT of as many blocks as FPDM passes with one iteration below {NEGLIGIBLE} times the best FPDM {EVERYWHERE}"
)
def matched_by_shallow(evidence: Evidence) -> Finding:
    suite = evidence.compared
    return _over(evidence, as_shallow(suite), suite.subject, at_most(NEGLIGIBLE))


@rule(f"The best FPDM below the shallow DiT whose number of parameters is nearest to FPDM's, {EVERYWHERE}")
def better_at_equal_parameters(evidence: Evidence) -> Finding:
    suite = evidence.compared
    control = of_equal_parameters(suite)
    ours, theirs = (parameters(one.config) / 1e6 for one in (suite.subject, control))
    finding = _over(evidence, suite.subject, control, below)
    return replace(finding, measured=f"{ours:.3g}M against {theirs:.3g}M parameters; {finding.measured}")


@rule(f"The best FPDM below the best loop of the same blocks without injections, {EVERYWHERE}")
def injection_needed(evidence: Evidence) -> Finding:
    suite = evidence.compared
    return _over(evidence, suite.subject, without_injection(suite), below)


@rule("The best FPDM of 2 and more iterations at 280 passes below FPDM of 1 iteration at equally many timesteps, with "
      "DDPM and with DDIM")  # fmt: skip
def iterating_needed(evidence: Evidence) -> Finding:
    subject, frame = evidence.compared.subject, own(evidence)
    several = [k for k in ITERATIONS if k > 1]
    found: dict[str, Ratio] = {}
    for sampler in SAMPLERS:
        cells = where(frame, model=subject.name, sampler=sampler)
        many = some(cells, f"{subject.label} at 280, {sampler}", budget=280, iterations=several)
        what = f"{subject.label} with 1 iteration and as many timesteps, {sampler}"
        once = some(cells, what, iterations=1, steps=[*many.steps])
        if absent := {*many.steps} - {*once.steps}:
            raise UntestedError(f"cells of {what}: {', '.join(map(str, sorted(absent)))}")
        pairs = chosen(many).merge(once, on=["seed", "steps"], suffixes=("", "_once")).set_index("seed")
        found[f"{label_of(sampler)}, k = {', '.join(map(str, pairs.iterations))}"] = ratio(pairs.fid, pairs.fid_once)
    text = "; ".join(f"{name}: {r}" for name, r in found.items())
    return judged(f"best {subject.label} / {subject.label} at k = 1, {text}", (below, found))


@rule(f"The best DiT with cached blocks below the best FPDM {EVERYWHERE}")
def cached_better(evidence: Evidence) -> Finding:
    suite = evidence.compared
    return _over(evidence, cached(suite), suite.subject, below)
