"""Building blocks of grids: cells of contenders and of ablations over replicates, budgets and iterations."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from bench.spec.cells import Cell, TrainingRun
from bench.spec.contenders import Suite
from bench.spec.selection import Selection, ablation_run, for_ablations, protocol, replicates, training_run
from bench.system.errors import BadInputError
from models.config import ModelConfig
from models.diffusion.timesteps import TIMESTEPS
from models.families import Family, family_of

MIDDLE, LARGEST = (280,), (560,)  # the budgets of most ablations, and of the sample figures


def any_family(family: Family) -> bool:
    """For grids that every contender takes part in."""
    return True


def iterates(family: Family) -> bool:
    """For grids that vary how iterations are spent."""
    return family.iterates


def carries_state(family: Family) -> bool:
    """For grids that vary whether a step's iteration starts from the state of the step before."""
    return family.iterates and family.carries_state


def cell_of(
    suite: Suite,
    selection: Selection,
    run: TrainingRun,
    budget: int,
    iterations: int,
    seed: int,
    borrower: str = "",
    config: ModelConfig | None = None,
    **changes: Any,
) -> list[Cell]:
    """The cell of a network at a budget, by default with DDPM and reuse; empty if no step is affordable.

    It is empty too if the network cannot spend the budget, because it has too few timesteps.

    Args:
        suite, selection: which comparison.
        run: the training of the weights.
        budget: block passes of the baseline.
        iterations: the schedule's number.
        seed: seed of the samples.
        borrower, config: name and configuration of a contender that borrows the weights.
        changes: other fields of the cell.

    Raises:
        BadInputError: the budget is below one step of the network's fewest iterations, or more than the baseline can
            spend, or a family without a state is to reuse it.
    """
    network = config or run.config
    family, name = family_of(network), borrower or run.model
    if budget < (least := family.least_passes(network)):
        raise BadInputError(f"--budget {budget}: one step of {name} takes {least} block passes or more")
    if changes.get("reuse") and not family.carries_state:
        raise BadInputError(f"{name} cannot reuse solutions: a network of family {family.name} has no state to carry")
    sampler = changes.pop("sampler", "ddpm")
    account, baseline = selection.accounting, suite.baseline.config
    if account.exceeds(baseline, budget, network, iterations, sampler):
        if network == baseline:
            raise BadInputError(
                f"--budget {budget}: {name} spends at most {TIMESTEPS * least} block passes, {least} at each of the "
                f"{TIMESTEPS} timesteps; give at most that"
            )
        return []  # it would spend less than the others
    if (steps := account.steps(baseline, budget, network, iterations, sampler)) == 0:
        return []
    n_pre, counted, n_post = family.layout(network, iterations)
    cell = Cell(
        run=run,
        measure="quality",
        budget=budget,
        n_pre=n_pre,
        iterations=counted,
        n_post=n_post,
        steps=steps,
        sampler=sampler,
        solver="iteration",
        reuse=family.carries_state,
        allocation="constant",
        seed=seed,
        protocol=protocol(suite, selection),
        borrower=borrower,
        network=config,
    )
    changed = replace(cell, **changes)
    if changed.measure != "quality":  # nothing of it is judged
        changed = replace(changed, protocol=replace(changed.protocol, second=None))
    return [changed]


def contenders(
    suite: Suite,
    selection: Selection,
    budgets: tuple[int, ...],
    iterations: Iterable[int],
    takes_part: Callable[[Family], bool] = any_family,
    **changes: Any,
) -> list[Cell]:
    """Cells of each replicate, budget and contender that takes part: one for each schedule to choose among."""
    cells = []
    chosen = [one for one in suite.chosen(selection.models) if takes_part(one.family)]
    for seed, budget, contender in product(replicates(suite, selection), selection.budgets or budgets, chosen):
        run = training_run(suite, contender, selection, seed)
        for config, number in product(contender.configs, contender.numbers(iterations)):
            lent = (contender.name, config) if contender.weights_of else ()
            cells += cell_of(suite, selection, run, budget, number, seed, *lent, **changes)
    return cells


def images(
    suite: Suite, selection: Selection, iterations: Iterable[int], samples: int, guidance: float = 1.0
) -> list[Cell]:
    """Samples to show, of the first replicate at the largest budget: the same noise and labels in every cell."""
    first = replace(selection, seeds=replicates(suite, selection)[:1])
    channels = suite.baseline.config.in_channels
    shown = replace(
        protocol(suite, replace(selection, samples=samples)),
        guidance_scale=guidance,
        guidance_channels=0 if guidance == 1 else min(channels, 3),  # as official DiT: 3 of its 4 latent channels
    )
    budget = max(selection.budgets or LARGEST)
    return contenders(suite, replace(first, budgets=(budget,)), LARGEST, iterations, measure="images", protocol=shown)


def ablations(
    suite: Suite,
    selection: Selection,
    variants: Iterable[Mapping[str, Any]],
    budgets: tuple[int, ...],
    iterations: Iterable[int],
) -> list[Cell]:
    """Cells of the subject under other trainings: `variants` are arguments of `ablation_run`."""
    cells, few = [], for_ablations(suite, selection)
    if suite.subject in suite.chosen(selection.models):
        for variant, seed in product(list(variants), replicates(suite, few)):
            run = ablation_run(suite, selection, seed, **variant)
            for budget, k in product(selection.budgets or budgets, iterations):
                if budget >= suite.subject.family.least_passes(run.config):
                    cells += cell_of(suite, selection, run, budget, k, seed)
    return cells
