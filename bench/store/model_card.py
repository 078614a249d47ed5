"""Model cards of kept weights: what they were trained on and for how long, and how good their samples are."""

from collections.abc import Iterable, Mapping
from typing import Any

from bench.spec.cells import TrainingRun
from bench.spec.datasets import get_dataset
from bench.spec.grids.enumeration import MIDDLE
from bench.store.records import Record
from models.families import family_of

LICENSE = "mit"  # the project's


def model_card(run: TrainingRun, training: Mapping[str, Any], records: Iterable[Record]) -> str:
    """README.md of a folder with a run's weights, in Markdown, with the hub's metadata.

    Args:
        run: the training.
        training: its summary.
        records: the current records of its weights.
    """
    dataset, family, environment = get_dataset(run.dataset), family_of(run.config), training["environment"]
    commit = environment.get("commit")
    rows = {
        "data": f"{dataset.label}, {dataset.count:,} images"
        + (f", SHA-256 {dataset.digest}" if dataset.digest else ""),
        "network": f"{family.label}, {family.shape(run.config)}; {family.parameters(run.config):,} parameters",
        "training": f"{training['elapsed_s']:g} s on the training clock, {training['step']:,} steps, seed {run.seed}",
        "hardware": environment.get("hardware", "unknown"),
        "Fréchet distance": _quality(run, records),
        "SHA-256 of the weights": training["digest"],
        "code": f"commit {commit}" + (" with changes" if environment.get("dirty") else "") if commit else "no commit",
        "license": LICENSE.upper(),
    }
    table = "".join(f"| {name} | {value} |\n" for name, value in rows.items())
    return (
        f"---\nlicense: {LICENSE}\n---\n\n# {run.model} on {dataset.label}\n\n"
        f"Averaged weights of the training `{run.name}`, made for a comparison at equal training time, not for the "
        "best images.\n\n"
        f"| | |\n|---|---|\n{table}\n"
        "```python\nfrom models import create_model\n\nnetwork = create_model(FOLDER)  # this folder\n```\n"
    )


def _quality(run: TrainingRun, records: Iterable[Record]) -> str:
    """The lowest FD with DDPM at the middle budget, with its schedule."""
    usual = {"measure": "quality", "model": run.model, "seed": run.seed, "sampler": "ddpm", "guidance": 1.0}
    usual |= {"solver": "iteration", "allocation": "constant"}
    found = [
        record
        for record in records
        if record.status == "done" and all(record.cell.get(name) == value for name, value in usual.items())
    ]
    if not found:
        return "not measured"
    budgets = sorted({record.cell["budget"] for record in found})
    budget = MIDDLE[0] if MIDDLE[0] in budgets else budgets[len(budgets) // 2]
    found = [record for record in found if record.cell["budget"] == budget]
    best = min(found, key=lambda record: record.metrics["fid"])
    cell, protocol = best.cell, best.cell["protocol"]
    schedule = f"{cell['steps']} steps of DDPM"
    if family_of(run.config).iterates:
        schedule += f" with {cell['iterations']} iterations each"
    chosen = f", the lowest of {len(found)} schedules" if len(found) > 1 else ""
    return (
        f"{best.metrics['fid']:.3f} at {budget} block passes ({schedule}{chosen}; {cell['samples']} samples, features "
        f"of {protocol['extractor']})"
    )
