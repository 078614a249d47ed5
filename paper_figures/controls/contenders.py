"""What explains the lead: every control beside baseline and subject, and the strongest control, in tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.spec.cells import Cell
from bench.spec.contenders import Contender
from models.diffusion.samplers import label_of
from models.families import parameters
from paper_figures.claims.control_rules import shallow
from paper_figures.evidence.columns import (
    mean_columns,
    number,
    plus_minus,
    ratio_columns,
    readable_shares,
    share_columns,
    with_measured,
)
from paper_figures.evidence.comparisons import (
    EACH,
    ONE_SAMPLER,
    against,
    at_best,
    chosen,
    complete,
    in_steps,
    most_often,
    no_seconds,
    training,
    where_intervals,
)
from paper_figures.evidence.criteria import Verdict, below
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import CHOICE, Ratio, best
from paper_figures.evidence.pairing import where
from paper_figures.tables.writing import Table, drawn

GRID = "controls"
TITLE = "Controls: what explains the lead"
STRONGEST = "strongest control"


@dataclass(frozen=True)
class Side:
    """What is compared: one contender, or the best of several, chosen on the other replicates."""

    label: str
    members: tuple[Contender, ...]

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.members]


def tables(evidence: Evidence) -> list[Table]:
    """The verdicts, every contender, and what each was trained for."""
    if evidence.frame.empty:
        return []
    table, verdicts, trained = summary(evidence), strongest(evidence), trainings(evidence)
    fd = "FD: Fréchet distance, lower is better."
    note = f"{fd} {_choice(evidence)} {_meaning(evidence)}"
    each = (
        f"{note} {evidence.shares_note}{where_intervals(evidence, EACH)} Schedules to choose from: {_numbers(table)}."
    )
    weights = "Contenders without training steps sample with the weights of the one that is named."
    return [
        Table("controls_best", verdicts, _readable_verdicts(evidence, verdicts), f"{note} {ONE_SAMPLER}"),
        Table("controls", table, _readable(evidence, table), each),
        Table("controls_training", trained, _readable_trainings(trained), weights + no_seconds(evidence), shown=False),
    ]


draw, table_text = drawn(tables)


def sides(evidence: Evidence) -> list[Side]:
    """Each contender that there are records of, the best of the shallow baselines, and the strongest control."""
    suite = evidence.compared
    base = suite.baseline
    present = [one for one in evidence.contenders if one.name in {*evidence.asked.model}]
    others = tuple(one for one in present if one != base and one.family != suite.subject.family)
    pools = [
        Side(f"best shallow {base.label}", tuple(one for one in present if one in shallow(suite))),
        Side(STRONGEST, others),
    ]
    return [*(Side(one.label, (one,)) for one in present), *(pool for pool in pools if pool.members)]


def places(evidence: Evidence) -> Iterator[tuple[str, int]]:
    """Samplers and budgets, in the order of tables."""
    cells = evidence.asked
    return ((sampler, budget) for sampler in dict.fromkeys(cells.sampler) for budget in sorted(set(cells.budget)))


def summary(evidence: Evidence) -> pd.DataFrame:
    """A row a sampler, budget and side: schedules to choose from, the chosen one, FD, ratios to baseline and subject.

    Columns of ratios are those of `columns.ratio_columns` with `_to_<contender>` behind.
    """
    suite, rows = evidence.compared, []
    for sampler, budget in places(evidence):
        frame, asked = (where(cells, sampler=sampler, budget=budget) for cells in (evidence.frame, evidence.asked))
        for side in sides(evidence):
            cells = where(frame, model=side.names)
            row: dict[str, Any] = {"sampler": sampler, "budget": budget, "contender": side.label}
            row["schedules"] = len(where(asked, model=side.names)[list(CHOICE)].drop_duplicates())
            row |= _reached(evidence, cells, named=len(side.members) > 1)
            for other in (suite.baseline, suite.subject):
                found = None if side.members == (other,) else against(cells, where(frame, model=other.name))
                row |= {f"{name}_to_{other.name}": value for name, value in ratio_columns(found).items()}
            rows.append(row)
    return with_measured(pd.DataFrame(rows))


def _reached(evidence: Evidence, cells: pd.DataFrame, named: bool) -> dict[str, Any]:
    """The schedule that most replicates choose, with the contender's name if there are several; FD."""
    if cells.empty:
        return {"schedule": "", "replicates": 0} | mean_columns(pd.Series(dtype=float), "")
    cells, labels = complete(cells), {one.name: one.label for one in evidence.contenders}
    picked = chosen(cells)
    texts = [
        (f"{labels[row['model']]}: " if named else "") + in_steps(evidence.compared, row)
        for row in picked.to_dict("records")
    ]
    return (
        {"schedule": "".join(most_often(texts)), "replicates": len(texts)}
        | mean_columns(best(cells), "")
        | share_columns(picked)
    )


def strongest(evidence: Evidence) -> pd.DataFrame:
    """A row a sampler and budget: baseline, subject and strongest control, and what the ratios between them say."""
    suite, rows = evidence.compared, []
    pools = [side for side in sides(evidence) if side.label == STRONGEST]
    labels = {one.name: one.label for one in evidence.contenders}
    for sampler, budget in places(evidence):
        frame = where(evidence.frame, sampler=sampler, budget=budget)
        row: dict[str, Any] = {"sampler": sampler, "budget": budget, "control": ""}
        arms = {one.name: where(frame, model=one.name) for one in (suite.baseline, suite.subject)}
        arms["control"] = where(frame, model=[name for pool in pools for name in pool.names])
        for name, cells in arms.items():
            reached = best(complete(cells)) if len(cells) else pd.Series(dtype=float)
            row |= mean_columns(reached, f"{name}_")
        if len(arms["control"]):
            models = chosen(complete(arms["control"])).model
            row["control"] = "".join(most_often([labels[name] for name in models]))
        found = [against(arms[suite.subject_name], arms[name]) for name in (suite.baseline_name, "control")]
        for name, ratio in zip((suite.baseline_name, "control"), found, strict=True):
            row |= {f"{column}_to_{name}": value for column, value in ratio_columns(ratio, judge=False).items()}
        rows.append(row | {"verdict": _in_words(evidence, *found)})
    return pd.DataFrame(rows)


def _in_words(evidence: Evidence, to_baseline: Ratio | None, to_control: Ratio | None) -> str:
    """Whether the subject is better than the baseline, and than the strongest control."""
    suite = evidence.compared
    if to_baseline is None or to_control is None:
        return "incomplete"
    if len(evidence.replicates) < 2:
        return "one replicate, no verdict"
    words = {Verdict.CONFIRMED: "better than", Verdict.CONTRADICTED: "worse than"}
    first, second = (words.get(below(found), "not told apart from") for found in (to_baseline, to_control))
    return f"{suite.subject.label} is {first} {suite.baseline.label}, {second} the {STRONGEST}"


def trainings(evidence: Evidence) -> pd.DataFrame:
    """A row a contender: blocks, parameters, whose weights it has, and the training that equal seconds bought."""
    rows: list[dict[str, Any]] = []
    for one in (side.members[0] for side in sides(evidence) if len(side.members) == 1):
        runs = [c.run for c in evidence.cells if isinstance(c, Cell) and c.model == one.name and not one.weights_of]
        lender = evidence.compared.trained(one).label if one.weights_of else ""
        blocks = " or ".join(dict.fromkeys(map(one.family.shape, one.configs)))
        row = {"contender": one.label, "blocks": blocks, "parameters": parameters(one.config)}
        rows.append(row | {"weights_of": lender} | training(evidence, runs))
    return pd.DataFrame(rows).drop_duplicates("contender")


def _readable(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    suite = evidence.compared
    readable: dict[str, Any] = {
        "block passes": table.budget,
        "sampler": table.sampler.map(label_of),
        "contender": table.contender,
        "schedules": table.schedules,
        "chosen": table.schedule,
        "FD": plus_minus(table.fd, table.half),
        **readable_shares(table),
    }
    for one in (suite.baseline, suite.subject):
        readable[f"FD / {at_best(one)}"] = table[f"ratio_text_to_{one.name}"]
    return pd.DataFrame(readable)


def _readable_verdicts(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    suite = evidence.compared
    readable: dict[str, Any] = {"block passes": table.budget, "sampler": table.sampler.map(label_of)}
    for one in (suite.baseline, suite.subject):
        readable[f"{at_best(one)} FD"] = plus_minus(table[f"{one.name}_fd"], table[f"{one.name}_half"])
    readable |= {STRONGEST: table.control, "its FD": plus_minus(table.control_fd, table.control_half)}
    for name, label in ((suite.baseline_name, suite.baseline.label), ("control", STRONGEST)):
        readable[f"{suite.subject.label} / {label}"] = table[f"ratio_text_to_{name}"]
    return pd.DataFrame(readable | {"verdict": table.verdict})


def _readable_trainings(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "contender": table.contender,
            "blocks": table.blocks,
            "parameters (M)": number(table.parameters / 1e6, ".4g"),
            "weights of": table.weights_of,
            "training steps": number(table.training_steps, ".0f"),
            "ms / training step": number(1e3 * table.seconds_a_step, ".4g"),
            "trainings": [count or "" for count in table.trainings],
        }
    )


def _choice(evidence: Evidence) -> str:
    """How schedules and controls are chosen."""
    what = "A contender's schedule, and of several contenders the contender as well,"
    if len(evidence.replicates) > 1:
        how = "is chosen, for each replicate, on the others: more schedules to choose from give no advantage."
        return f"{what} {how} In brackets: how many replicates choose what is shown, if not all."
    how = "is chosen on the very samples that score it, for want of a second replicate"
    return f"{what} {how}, which flatters those with more schedules to choose from."


def _meaning(evidence: Evidence) -> str:
    """What the pools are."""
    suite = evidence.compared
    base, subject = suite.baseline.label, suite.subject.label
    return f"Strongest control: of all contenders but {base} and those of {subject}'s family. Ratios pair replicates."


def _numbers(table: pd.DataFrame) -> str:
    """How many schedules each side had, at the budget where it had most."""
    most = table.groupby("contender", sort=False).schedules.max()
    return "; ".join(f"{name}: {count}" for name, count in most.items())
