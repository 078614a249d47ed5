"""Does Table 1 survive the real price? DiT and the best FPDM at budgets in block passes, in MACs and in seconds.

The paper counts block passes and calls the injections negligible (Sec. 4.2, footnote 3). They are not: in MACs and in
seconds FPDM affords fewer steps. Equal schedules are equal cells, so each account's are enumerated anew.
"""

import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bench.spec.accounts import ACCOUNTS, Account
from bench.spec.grids.beyond import by_account
from models.diffusion.samplers import label_of
from paper_figures import style
from paper_figures.claims.findings import corrected
from paper_figures.claims.ledger import EQUAL_COMPUTE, judge
from paper_figures.claims.rules import COMPARABLE, TABLE1, at_budget, comparable
from paper_figures.evidence.columns import number, plus_minus, readable_shares
from paper_figures.evidence.comparisons import FIGURE_4, ONE_SAMPLER, twins
from paper_figures.evidence.criteria import Verdict
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.pairing import UntestedError
from paper_figures.tables.writing import printed, write_table

GRID = "accounts"
TITLE = "Table 1 in block passes, MACs and seconds"
CORRECTED = "Verdicts are corrected for the number of claims and accounts in this table by Holm's method."
HOLDS = {
    Verdict.CONFIRMED: "yes",
    Verdict.EQUIVALENT: "yes",
    Verdict.CONTRADICTED: "no",
    Verdict.INCONCLUSIVE: "undecided",
    Verdict.UNTESTED: "not tested",
}
CURRENCIES = {  # account -> heading, factor and format of what is spent on one image
    "blocks": ("passes / image", 1, ".0f"),
    "macs": ("MMACs / image", 1e-6, ".0f"),
    "seconds": ("ms / image", 1e3, ".3g"),
}
LOOKS = {name: (style.SERIES[i], style.MARKERS[i + 1]) for i, name in enumerate(ACCOUNTS)}  # color and marker


def draw(evidence: Evidence) -> list[Path]:
    """Write tables/accounts{,_claims}.{csv,md,tex} and figures/accounts.{png,pdf}."""
    if evidence.frame.empty:
        return []
    table, found = summary(evidence), verdicts(evidence)
    return [
        *write_table(
            evidence,
            "accounts",
            table,
            _readable(evidence, table),
            f"{_note(evidence)} {evidence.choice} {FIGURE_4} {evidence.shares_note} {_holds(evidence)}",
        ),
        *write_table(evidence, "accounts_claims", found, found, f"{_note(evidence)} {CORRECTED}"),
        *_figure(evidence, table),
    ]


def _holds(evidence: Evidence) -> str:
    whose = "that most replicates choose" if len(evidence.replicates) > 1 else "that is chosen"
    return (
        f"FD: Fréchet distance, lower is better. Spent: by DiT; by FPDM at the schedule {whose}. "
        f"Table 1 has FPDM better at 140 and 280, and comparable, within a factor of {COMPARABLE}, at 560. "
        f"{ONE_SAMPLER}"
    )


def table_text(evidence: Evidence) -> str:
    """The tables to print at the end of a run."""
    return f"{printed(evidence, _readable(evidence, summary(evidence)))}\n\n{printed(evidence, verdicts(evidence))}"


def arms(evidence: Evidence) -> dict[str, Evidence]:
    """The evidence of each account that there are cells of, by its name."""
    cells = by_account(style.suite_of(evidence), evidence.selection)
    return {
        name: replace(evidence, cells=some, selection=replace(evidence.selection, account=name))
        for name, some in cells.items()
    }


def summary(evidence: Evidence) -> pd.DataFrame:
    """A row an account, budget and sampler: `comparisons.twins`, what either side spends, and Table 1's claim."""
    rows: list[dict[str, Any]] = []
    for name, arm in arms(evidence).items():
        for line in twins(arm).to_dict("records"):
            row = {"account": name} | {str(column): value for column, value in line.items()}
            rows.append(row | _spent(arm, row) | _claim(arm, row["budget"], row["sampler"]))
    return pd.DataFrame(rows)


def _spent(evidence: Evidence, row: dict[str, Any]) -> dict[str, float]:
    """What the baseline and the chosen subject spend on one image: columns `<contender>_<currency>`."""
    suite, prices = style.suite_of(evidence), evidence.selection.prices
    config, budget, sampler = suite.baseline.config, row["budget"], row["sampler"]
    own = Account().steps(config, budget, config, 0, sampler)
    chosen = {suite.baseline: (own, 0), suite.subject: (row["steps"], row["iterations"])}
    spent = {}
    for (one, (steps, iterations)), name in product(chosen.items(), CURRENCIES):
        known = not math.isnan(steps) and (name != "seconds" or prices is not None)
        images = prices.batch_size if name == "seconds" and prices is not None else 1
        account = Account(name, prices)
        price = account.run_price(one.config, int(iterations), int(steps), sampler) if known else math.nan
        spent[f"{one.name}_{name}"] = price / images
    return spent


def _claim(evidence: Evidence, budget: int, sampler: str) -> dict[str, str]:
    """What Table 1 says at this budget and whether it holds here, with one sampler."""
    if (rule := TABLE1.get(budget)) is None:
        return {"claim": "", "holds": ""}
    try:
        verdict = at_budget(evidence, budget, rule, (sampler,)).verdict
    except UntestedError:
        verdict = Verdict.UNTESTED
    return {"claim": "comparable" if rule is comparable else "FPDM better", "holds": HOLDS[verdict]}


def verdicts(evidence: Evidence) -> pd.DataFrame:
    """A row a claim of Table 1, judged as in the ledger, both samplers together; a column an account."""
    found = arms(evidence)
    places = list(product(EQUAL_COMPUTE, found))
    judged = corrected([judge(claim, found[name]) for claim, name in places])
    rows: dict[str, dict[str, str]] = {}
    for (claim, name), finding in zip(places, judged, strict=True):
        rows.setdefault(claim.statement, {"claim": claim.statement})[f"in {ACCOUNTS[name]}"] = finding.words
    return pd.DataFrame(rows.values())


def _readable(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    suite = style.suite_of(evidence)
    (base, subject), (a, b) = zip(*((one.name, one.label) for one in (suite.baseline, suite.subject)), strict=True)
    columns: dict[str, Any] = {
        "equal in": table.account.map(ACCOUNTS),
        f"{a} passes": table.budget,
        "sampler": table.sampler.map(label_of),
        f"{a} FD": plus_minus(table[f"{base}_fd"], table[f"{base}_half"]),
        f"best {b} FD": plus_minus(table[f"{subject}_fd"], table[f"{subject}_half"]),
        **readable_shares(table, f"{base}_", f"{a} {{}}"),
        **readable_shares(table, f"{subject}_", f"best {b} {{}}"),
        "iterations x steps": table.schedule,
    }
    for name, (heading, scale, form) in CURRENCIES.items():
        spent = [number(table[f"{one}_{name}"] * scale, form) for one in (base, subject)]
        if any(spent[0]):
            columns[f"{heading} ({a}, {b})"] = [", ".join(filter(None, pair)) for pair in zip(*spent, strict=True)]
    columns |= {f"best {b} / {a}": table.ratio_text, "verdict": table.verdict}
    return pd.DataFrame(columns | {"Table 1": table.claim, "holds with this sampler": table.holds})


def _note(evidence: Evidence) -> str:
    """How budgets are made equal."""
    text = "Budgets are what DiT spends on so many block passes; FPDM may spend as many blocks, MACs or seconds."
    prices = evidence.selection.prices
    if prices is None:
        return f"{text} Seconds are not calibrated here."
    return f"{text} Seconds as calibrated on {prices.hardware}, at batch {prices.batch_size}."


def _figure(evidence: Evidence, table: pd.DataFrame) -> list[Path]:
    """The ratio at each budget in each account, a panel a sampler; shaded is what Table 1 says."""
    drawn = table[np.isfinite(table.ratio) & (table.ratio > 0)]
    if drawn.empty:
        return []
    samplers, budgets = list(dict.fromkeys(table.sampler)), sorted(set(table.budget))
    figure, ((*axes,),) = style.panels(1, len(samplers), height_in=2.9, sharey=True)
    ends = drawn[["ratio", "ratio_low", "ratio_high", "published_ratio"]].to_numpy(float)
    low, high = min(np.nanmin(ends), 1 / COMPARABLE) / 1.1, max(np.nanmax(ends), COMPARABLE) * 1.1
    for axis, sampler in zip(axes, samplers, strict=True):
        rows = drawn[drawn.sampler == sampler]
        _backdrop(axis, rows, budgets, low)
        _points(axis, rows, budgets)
        axis.set_title(label_of(sampler))
        axis.set_xlabel("budget: block passes of DiT")
        axis.set_ylim(low, high)
    for face, text in ((style.INK, "Table 1 holds"), ("white", "does not, or is undecided")):
        axes[0].plot([], [], "o", color=style.INK, markerfacecolor=face, label=text)
    axes[0].set_ylabel("FD of best FPDM / DiT")
    style.shared_legend(figure, axes)
    lost = " Not drawn: diverged." if len(drawn) < table.ratio.notna().sum() else ""
    several = "where the interval does not tell"
    unknown = several if len(evidence.replicates) > 1 else "as one replicate does not tell"
    meaning = f"Below 1 FPDM is better. Undecided: {unknown}. {ONE_SAMPLER}"
    style.note(figure, f"{evidence.caption}. {meaning} {_note(evidence)} {evidence.choice}{lost}")
    return style.save(figure, evidence.path("figures", "accounts"))


def _backdrop(axis: Axes, rows: pd.DataFrame, budgets: list[int], low: float) -> None:
    """The axes; what Table 1 says of each budget, shaded, and the published ratio."""
    style.log_y(axis, style.FINE)
    axis.set_xticks(range(len(budgets)), [str(budget) for budget in budgets])
    axis.set_xlim(-0.5, len(budgets) - 0.5)
    axis.grid(axis="x", visible=False)
    said = [(place, TABLE1[budget]) for place, budget in enumerate(budgets) if budget in TABLE1]
    for i, (place, rule) in enumerate(said):
        bottom, top = (1 / COMPARABLE, COMPARABLE) if rule is comparable else (low, 1)
        label = "what Table 1 says" if i == 0 else ""
        axis.bar(place, top - bottom, 0.86, bottom, color="#dfe7ec", linewidth=0, zorder=0, label=label)
    axis.axhline(1, color=style.INK, linewidth=0.8, zorder=2)
    known = rows.dropna(subset="published_ratio").drop_duplicates("budget")
    at = [budgets.index(budget) - 0.3 for budget in known.budget]
    label = "published" if len(known) else ""
    axis.plot(at, known.published_ratio, "_", color=style.INK, markersize=9, markeredgewidth=1.5, label=label)


def _points(axis: Axes, rows: pd.DataFrame, budgets: list[int]) -> None:
    """The measured ratios with their intervals, side by side."""
    for i, (name, (color, marker)) in enumerate(LOOKS.items()):
        some = rows[rows.account == name]
        at = np.array([budgets.index(budget) for budget in some.budget]) + 0.2 * (i - 0.5)
        ends = [some.ratio - some.ratio_low, some.ratio_high - some.ratio]
        if len(some):
            axis.errorbar(at, some.ratio, yerr=ends, fmt="none", ecolor=color, elinewidth=1, capsize=2)
            axis.plot([], [], marker, color=color, label=f"equal {ACCOUNTS[name]}")
        for holds, face in ((True, color), (False, "white")):
            chosen = (some.holds == "yes").to_numpy() == holds
            look = {"color": color, "markerfacecolor": face, "markeredgecolor": color}
            axis.plot(at[chosen], some.ratio[chosen], marker, **look)
