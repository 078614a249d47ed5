"""The claims ledger: statements of the paper and our own, the numbers that the records have on them, and verdicts.

To add a claim, write its rule in `rules.py`, `cost_rules.py` or `control_rules.py` (a function of the evidence under
the decorator `rule`, whose text is printed) and one line with it in `CLAIMS` or `OWN_CLAIMS`.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.system.files import write_text
from paper_figures.claims import control_rules, cost_rules, rules
from paper_figures.claims.findings import Finding, Rule, corrected
from paper_figures.evidence.columns import number
from paper_figures.evidence.criteria import POWER, Verdict
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.pairing import UntestedError
from paper_figures.tables.writing import write_table

GRID = "all"
TITLE = "Claims"
OURS = "ours"


@dataclass(frozen=True)
class Claim:
    """One statement, its section in the paper, the published numbers, and the rule that tests it.

    The section of our own claims is `OURS`. `amended` names changes of the rule that were made after the
    numbers of digits were known.
    """

    statement: str
    section: str
    published: str
    rule: Rule
    amended: str = ""

    @property
    def marked(self) -> str:
        """The statement, marked if it is ours."""
        return f"{self.statement} ({OURS})" if self.section == OURS else self.statement


def _ours(statement: str, rule: Rule) -> Claim:
    return Claim(statement, OURS, "", rule)


EQUAL_COMPUTE = (  # Table 1 on quality
    Claim("FPDM is better at 140 block passes", "Table 1", "85.8/148.0 DDPM, 33.9/110.0 DDIM", rules.better_at(140)),
    Claim("FPDM is better at 280 block passes", "Table 1", "43.3/80.9 DDPM, 22.4/35.2 DDIM", rules.better_at(280)),
    Claim("Comparable at 560 block passes", "Table 1", "26.1/37.9 DDPM, 19.6/16.5 DDIM", rules.comparable_at_560),
    Claim("At 560, better with DDPM but not with DDIM", "Sec. 4.3", "0.69 and 1.19 times DiT", rules.ddpm_but_not_ddim),
)

CLAIMS = (
    Claim("FPDM has 87% fewer parameters than DiT", "Abstract, Sec. 4.3", "674M to 86M", cost_rules.parameters),
    Claim("Training takes 60% less memory", "Abstract, Table 1", "25.2 to 10.2 GB at batch 64", cost_rules.memory),
    *EQUAL_COMPUTE,
    Claim("Above 560 block passes, DiT is better", "Sec. 4.3, 5.6", "no numbers", rules.beyond_560,
          "was: needs budgets above 560; written before the cells at 1120 were evaluated"),
    Claim("Better on every dataset at 280", "Table 2", "0.17 to 0.54 times DiT", rules.other_datasets),
    Claim("The optimum lies at 4 to 8 iterations at 280", "Sec. 5.1, Fig. 4", "figure", rules.optimum),
    Claim("Slightly worse than DiT at 26 iterations", "Fig. 4", "figure", rules.worse_at_equal_iterations),
    Claim("Increasing is better than constant, constant than decreasing", "Sec. 5.2, Table 5",
          "44.8 < 45.8 < 46.3 at 5 iterations", rules.allocation),
    Claim("Reuse helps at few iterations, negligibly at many", "Sec. 5.3, Fig. 6a", "figure", rules.reuse),
    Claim("Reuse lowers residuals past the noisiest steps", "Sec. 5.3, Fig. 6c", "figure", rules.reuse_by_timestep,
          "was: lower in the mean at each of these steps; now tested step by step"),
    Claim("Reuse is most effective at less noisy steps", "Sec. 5.3, Fig. 6c", "figure", rules.reuse_at_little_noise,
          "added after the numbers were known"),
    Claim("At least one pre/post layer is always better than none", "Sec. 5.4, Fig. 7", "figure", rules.one_layer),
    Claim("One layer is best at small budgets, 2 or 4 at large", "Sec. 5.4, Fig. 7", "figure", rules.layers_and_budget),
    Claim("M = N of 3 to 6 is best, 24 harmful", "Sec. 5.5, Table 3", "43.0, 43.2, 61.5, 567.6", rules.unrolling),
    Claim("1-step JFB fails", "Sec. 5.5, Table 4", "567.6 against 43.2", rules.jfb_fails),
    Claim("Multi-step JFB is better than JFB", "Sec. 5.5, Table 4", "48.2 against 567.6", rules.multi_step_helps),
    Claim("Stochastic JFB is better", "Sec. 5.5, Table 4", "43.2/48.2 and 61.5/79.9", rules.stochastic_helps_more),
    Claim("Cost is proportional to block passes", "Sec. 4.2", "no numbers", cost_rules.cost,
          "was: cells that were timed minutes apart, which show the machine's drift; now timed side by side"),
    Claim("The injections are negligible", "Sec. 4.2", "no numbers", cost_rules.injections,
          "added after the numbers were known, but arithmetic"),
    Claim("The gain is orthogonal to the sampler", "Sec. 4.3", "DDPM and DDIM", rules.orthogonal,
          "was: FPDM below DiT with each sampler, which says nothing of how much"),
)  # fmt: skip

OWN_CLAIMS = (
    _ours("FPDM's lead over DiT is matched by a DiT as shallow as FPDM", control_rules.matched_by_shallow),
    _ours("FPDM is better than a DiT of equal parameters", control_rules.better_at_equal_parameters),
    _ours("The injection is needed", control_rules.injection_needed),
    _ours(
        "Iterating is needed: FPDM at its best k is better than at k = 1 with equal timesteps",
        control_rules.iterating_needed,
    ),
    _ours("A trained DiT with cached blocks is better than FPDM at equal passes", control_rules.cached_better),
)


RULES = (
    "The rules are code (`paper_figures/claims/rules.py`). They and their statistics were last changed when three "
    "replicates of digits were known"
)
OWN_RULES = (
    "These claims are not the paper's. Their rules (`paper_figures/claims/control_rules.py`) were committed before any "
    "record of controls was made, their statistics were last changed when three replicates were known"
)
STATISTICS = (
    "Ratios are of Fréchet distances (below 1: the first is better): geometric means over replicates, paired by seed, "
    "with 95% intervals of Student's t on logarithms. Beside each interval is the p of a two-sided sign-flip test that "
    "the ratio is 1; with n replicates it is at least 2 / 2^n. A claim on several ratios is confirmed if each meets "
    "its bound at 5%, and contradicted if one misses its bound at 5% divided by their number. A claim that two sides "
    "differ by less than a factor is called equivalent if the interval lies within. Verdicts are corrected for the "
    "number of tested claims by Holm's method; where the correction changes a verdict, both are given. Inconclusive "
    f"claims have the number of replicates that would decide them with a probability of {POWER:.0%}, at the mean and "
    "spread seen and at the correction's strictest level."
)
ONE_REPLICATE = (
    "Ratios are of Fréchet distances (below 1: the first is better), of one replicate: they have no interval, and "
    "rules that need one are inconclusive unless one side diverged. Where FPDM's schedule has to be chosen, it is "
    "chosen {flattered}."
)


def judge(claim: Claim, evidence: Evidence) -> Finding:
    """A claim's finding in the evidence's account; `not tested` with the reason where the records do not suffice."""
    try:
        return claim.rule.judge(evidence.accounted)
    except UntestedError as reason:
        return Finding(Verdict.UNTESTED, f"needs {reason}" if not str(reason).startswith("no ") else str(reason))


def findings(evidence: Evidence) -> dict[Claim, Finding]:
    """Every claim's finding: the paper's, corrected for their number, then ours, corrected for theirs."""
    found: dict[Claim, Finding] = {}
    for claims in (CLAIMS, OWN_CLAIMS):
        found |= zip(claims, corrected([judge(claim, evidence) for claim in claims]), strict=True)
    return found


def summary(evidence: Evidence) -> pd.DataFrame:
    """A row a claim, ours last.

    Columns: claim, where, published, measured, rule, amended; `verdict` after the correction and `alone` without it;
    `p` and `p_holm` (NaN where nothing is tested), `needed` replicates; `words`, the verdict as it is printed.
    """
    return pd.DataFrame(
        [
            {
                "claim": claim.statement,
                "where": claim.section,
                "published": claim.published,
                "measured": finding.measured,
                "rule": claim.rule.text,
                "amended": claim.amended,
                "verdict": str(finding.verdict),
                "alone": str(finding.alone or finding.verdict),
                "p": finding.p,
                "p_holm": finding.p_holm,
                "needed": finding.needed,
                "words": finding.words,
            }
            for claim, finding in findings(evidence).items()
        ]
    )


def ledger(evidence: Evidence, table: pd.DataFrame) -> str:
    """Every claim of `summary` with its numbers and verdict, as Markdown: the paper's, then ours."""
    ours = table["where"] == OURS
    paragraphs = [
        f"# Claims of the paper, tested on `{evidence.suite}`",
        _counts(table[~ours]),
        evidence.caption + ".",
        evidence.accounted.missing,
        ONE_REPLICATE.format(flattered=evidence.flattered) if len(evidence.replicates) == 1 else STATISTICS,
        f"{RULES}.",
        _lines(table[~ours]),
        "## Claims of our own",
        _counts(table[ours]),
        f"{OWN_RULES}.",
        _lines(table[ours]),
    ]
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def _counts(table: pd.DataFrame) -> str:
    """How many claims have each verdict, and how many the correction changes."""
    counts = ", ".join(f"{(table.verdict == verdict).sum()} {verdict}" for verdict in Verdict)
    lost = int((table.verdict != table.alone).sum())
    return f"{counts}." + (f" Without the correction, {lost} more would be decided." if lost else "")


def _lines(table: pd.DataFrame) -> str:
    """Claims as a table with their numbers and rules."""
    lines = ["| claim | where | published | measured | p | corrected p | verdict |", "|---|---|---|---|---|---|---|"]
    for row in table.to_dict("records"):
        rule = f"Rule: {row['rule']}" + (f" (amended: {row['amended']})" if row["amended"] else "")
        cells = [row["claim"], row["where"], row["published"], f"{row['measured']}. *{rule}.*"]
        cells += [*number([row["p"], row["p_holm"]], ".2g"), f"**{row['words']}**"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(evidence: Evidence) -> list[Path]:
    """Write claims.md, and tables/claims.{csv,md,tex}: the same without the measured numbers, for a glance.

    Where any claim of our own is tested, tables/own_claims.{csv,md,tex} has ours alone, with their numbers. Nothing
    for a user's own images, of which the paper claims nothing.
    """
    if evidence.compared.own is not None:
        return []
    evidence = evidence.accounted
    path, table = evidence.path("", "claims.md"), summary(evidence)
    write_text(path, ledger(evidence, table))
    note = f"Claims marked {OURS}: {OWN_RULES}. Measured numbers and the rule of each verdict are in claims.md."
    written = [path, *write_table(evidence, "claims", table, _readable(table, "where", "published"), note)]
    ours = table[table["where"] == OURS]
    if (ours.verdict != Verdict.UNTESTED).any():
        note = f"{STATISTICS if len(evidence.replicates) > 1 else ''} {OWN_RULES}."
        written += write_table(evidence, "own_claims", ours, _readable(ours, "measured"), note)
    return written


def _readable(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Claims with these columns and their verdicts."""
    readable = table[["claim", *columns]].assign(verdict=table.words)
    readable.insert(len(columns) + 1, "corrected p", number(table.p_holm, ".2g"))
    return readable
