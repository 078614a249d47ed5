"""What a reader should not conclude: sentences on what the records are not, each from the records themselves."""

import json
from collections import Counter
from collections.abc import Sequence
from statistics import mean, median

from bench.spec.cells import TrainingRun
from bench.spec.contenders import Suite
from bench.spec.datasets import get_dataset
from bench.spec.extractors import INCEPTION, get_extractor
from bench.spec.selection import replicates, training_run
from bench.spec.suites import SUITES
from bench.store.records import Store
from bench.system.errors import BadInputError
from bench.system.files import read_if_there
from models.families import parameters
from paper_figures.evidence.gather import Evidence
from paper_figures.report.records import Entry

PAPER = "imagenet"  # the paper's suite that others are compared with
FALLING = 0.98  # a loss whose last fifth is below this multiple of the fifth before still falls
DAY_S = 86400


def limits(
    found: Sequence[Entry], shown: Sequence[Evidence], undrawn: Sequence[Evidence], corrected: bool
) -> list[str]:
    """Sentences, the most important first.

    Args:
        found: all records of the results folder.
        shown: evidence of the grids that the page shows, at least one.
        undrawn: evidence of the grids that it does not, for want of records.
        corrected: whether verdicts are corrected for their number.
    """
    suite, of_quality = shown[0].compared, [one for one in shown if len(one.frame)]
    sentences = [*_replicates(of_quality), *_training(shown[0]), *_size(suite)]
    if of_quality:
        sentences += [*_features(of_quality[0]), *_equal(of_quality)]
    if suite.own is None and not corrected:
        sentences.append("Each verdict stands for itself: none is corrected for the number of claims.")
    return [*sentences, *_seconds(found), *_lost(found), *_missing(shown, undrawn)]


def _replicates(shown: Sequence[Evidence]) -> list[str]:
    counts = {one.grid: len(one.replicates) for one in shown}
    most = max(counts.values(), default=0)
    if most < 2:
        return ["There is one replicate, so noise cannot be estimated: no number has an interval."] if counts else []
    said = f"There are {most} replicates. Inconclusive does not mean equal: {most} replicates leave wide intervals."
    if alone := [grid for grid, count in counts.items() if count == 1]:
        said += f" Of {_listed(alone)} there is one replicate, hence no interval."
    if any((one.frame.groupby("train_run").seed.nunique() > 1).any() for one in shown):
        said += " Some configurations were trained once: between their replicates only the sampling varies."
    return [said]


def _training(evidence: Evidence) -> list[str]:
    """How long baseline and subject were trained, beside the paper, and whether their losses still fell."""
    suite, store, said, falls = evidence.compared, evidence.store, [], []
    for one in (suite.baseline, suite.subject):
        seeds = replicates(suite, evidence.selection)
        runs = [training_run(suite, one, evidence.selection, seed) for seed in seeds]
        summaries = [summary for run in runs if (summary := store.read_training(run)) is not None]
        if one.elsewhere or not summaries:
            continue
        seconds, steps = mean(s["elapsed_s"] for s in summaries), mean(s["step"] for s in summaries)
        said.append(f"{one.label} made {steps:,.0f} training steps in {seconds:,.0f} s")
        falls += [one.label] if any(_falls(store, run) for run in runs) else []
    if not said:
        return []
    paper = SUITES[PAPER]
    days, gpus = paper.baseline.recipe.seconds / DAY_S, paper.gpus
    theirs = "" if suite.own else f" The paper trains for {days:g} days on {gpus} GPUs."
    found = f"{_listed(said)}, on average.{theirs}"
    still = f" The losses of {_listed(falls)} still fell at the end." if falls else ""
    longer = " Longer training may change the order." if suite.name != PAPER else ""
    return [f"{found}{still}{longer}"]


def _falls(store: Store, run: TrainingRun) -> bool:
    """Whether the loss fell in the last fifth of a training; False without a log. BadInputError if it is damaged."""
    path = store.metrics_log_path(run)
    try:
        losses = [json.loads(line)["loss"] for line in (read_if_there(path) or b"").splitlines()]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"metrics log {path} is damaged ({error}): restore it, or delete it") from error
    fifth = len(losses) // 5
    return bool(fifth) and median(losses[-fifth:]) < FALLING * median(losses[-2 * fifth : -fifth])


def _size(suite: Suite) -> list[str]:
    """How large images and networks are, beside the paper's."""
    paper, own, dataset = SUITES[PAPER], suite.baseline.config, get_dataset(suite.dataset)
    ours = [f"{one.label} has {parameters(one.config) / 1e6:.3g}M" for one in (suite.baseline, suite.subject)]
    theirs = [f"{parameters(one.config) / 1e6:.3g}M" for one in (paper.baseline, paper.subject)]
    if parameters(own) == parameters(paper.baseline.config):
        return []
    seen = "latents" if dataset.is_latent else f"images of {own.input_size}x{own.input_size} pixels"
    said = f"The dataset is {dataset.label}: {dataset.count:,} {seen}. {_listed(ours)} parameters"
    if suite.own:
        return [f"{said}. Nothing follows for larger networks and images."]
    larger = f"the paper's have {_listed(theirs)}, at 256 pixels. Nothing follows for networks and images of that size"
    return [f"{said}; {larger}."]


def _features(evidence: Evidence) -> list[str]:
    protocol = evidence.quality[0].protocol
    said = f"FD is taken of {protocol.samples:,} samples, which biases it upwards, and not alike for all networks."
    if get_extractor(protocol.extractor).name != INCEPTION:
        apart = f"It does not compare {'' if evidence.compared.own else 'with published FID, nor '}between datasets"
        said = f"FD is in {evidence.extractor} features. {apart}. {said}"
    return [said]


def _equal(shown: Sequence[Evidence]) -> list[str]:
    """What is equal at a budget, and how far MACs differ then."""
    suite = shown[0].compared
    frame = next((one.frame for one in shown if {suite.baseline_name, suite.subject_name} <= {*one.frame.model}), None)
    if frame is None or shown[0].account.name != "blocks":
        return []
    rate = {name: (cells.macs / cells.block_passes).median() for name, cells in frame.groupby("model")}
    more = 100 * (rate[suite.subject_name] / rate[suite.baseline_name] - 1)
    return [
        f"Block passes are equal, not multiplications or seconds: at equal block passes {suite.subject.label} makes "
        f"{abs(more):.0f}% {'more' if more >= 0 else 'fewer'} multiplications than {suite.baseline.label} (median of "
        "its schedules)."
    ]


def _seconds(found: Sequence[Entry]) -> list[str]:
    machines = Counter(str(one.row["hardware"] or "") for one in found if one.record.timing)
    known = sorted(name for name in machines if name)
    if not known:
        return []
    if len(known) > 1:
        return [f"Times are of different machines ({'; '.join(known)}). Times of different machines do not compare."]
    return [f"Times are of one machine, {known[0]}, with whatever else ran on it. They say nothing of other machines."]


def _lost(found: Sequence[Entry]) -> list[str]:
    """Records that are no result, or of older weights."""
    counts = Counter(str(one.row["status"]) for one in found)
    others = {status: count for status, count in counts.items() if status not in ("done", "outdated")}
    said = []
    if others:
        texts = (f"{count:,} {status}" for status, count in sorted(others.items()))
        said.append(f"Not all cells ended well: {', '.join(texts)}. A divergence counts as an infinite FD.")
    if outdated := counts["outdated"]:
        said.append(f"{outdated:,} records are of weights that were trained anew since. No table or figure uses them.")
    return said


def _missing(shown: Sequence[Evidence], undrawn: Sequence[Evidence]) -> list[str]:
    partly = [f"{one.grid} ({len(one.absent):,} of {len(one.cells):,})" for one in shown if one.absent]
    said = f"Cells without a result, by grid: {', '.join(partly)}." if partly else ""
    if undrawn:
        said += f" Without any result of their own: {', '.join(one.grid for one in undrawn)}."
    return [said.strip() + " What they would show is not known."] if said else []


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
