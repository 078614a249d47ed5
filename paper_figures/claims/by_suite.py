"""Claims by suite: each claim's verdict in every suite with results in the same folder, and whether they agree."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from paper_figures.claims import cost_rules
from paper_figures.claims.findings import Finding
from paper_figures.claims.ledger import OURS, OWN_RULES, Claim, findings
from paper_figures.evidence.criteria import Verdict
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.other_suites import with_results
from paper_figures.tables.writing import write_table

GRID = "all"
TITLE = "Claims by suite"
COMPUTED = (cost_rules.parameters, cost_rules.memory, cost_rules.injections)
_NOTE = (
    "Leans to: the verdict that the same rule would give if its estimates were exact; undecided if none. A lean is no "
    "result: noise may turn it. In brackets: the ratio that contradicts the claim most; below 1 its first side is "
    "better. Agree: yes if all verdicts are decided and alike, no if two of them are opposite; else "
    "whether the suites lean alike or apart, a decided verdict counted as a lean. Suites in which a claim is not "
    "tested are left out of that. What is computed of XL/2 is the same in every suite. "
    f"Claims marked ({OURS}): {OWN_RULES}."
)


@dataclass(frozen=True)
class Standing:
    """A claim's verdict in one suite, and which way that leans; a decided verdict leans to itself.

    `against` is what contradicts the claim most if it leans to that (`Finding.against`).
    """

    verdict: Verdict
    lean: Verdict
    against: str = ""

    def __str__(self) -> str:
        if self.verdict is not Verdict.INCONCLUSIVE:
            return str(self.verdict)
        leaning = "undecided" if self.lean is Verdict.INCONCLUSIVE else f"leans to {self.lean}"
        return f"{self.verdict}, {leaning}" + (f" ({self.against})" if self.against else "")


def draw(evidence: Evidence) -> list[Path]:
    """Write tables/suites.{csv,md,tex}, of the suites' default cells; nothing if only one has results of quality."""
    if evidence.variant or evidence.accounted.frame.empty or evidence.compared.own is not None:
        return []
    found = with_results(evidence, GRID)
    if len(found) < 2:
        return []
    judged = {one.suite: findings(one) for one in found}
    standings = {claim: {name: standing(of[claim]) for name, of in judged.items()} for claim in judged[evidence.suite]}
    sentences = [_NOTE, *(f"{other.caption}. {other.missing}".rstrip() for other in found[1:])]
    if single := [one.suite for one in found if len(one.replicates) == 1]:
        chosen = f"FPDM's schedule is chosen {found[0].flattered}"
        sentences.append(f"In {' and '.join(single)}, {chosen}: its leans are flattered too.")
    return write_table(found[0], "suites", machine(standings), readable(standings), " ".join(sentences))


def standing(found: Finding) -> Standing:
    """A finding's verdict and which way it leans."""
    return Standing(found.verdict, found.lean or found.verdict, found.against)


def agreement(standings: dict[str, Standing]) -> str:
    """Whether the suites that tested a claim agree on it.

    Args:
        standings: of the claim, by suite.

    Returns:
        "yes": all are decided, and alike. "no": two are decided, and opposite. "lean alike", "lean apart" or
        "undecided" if some are inconclusive. "not tested", or where not, if there are less than two to compare.
    """
    tested = [one for one in standings.values() if one.verdict is not Verdict.UNTESTED]
    if not tested:
        return "not tested"
    if len(tested) == 1:
        return f"not tested in {', '.join(name for name, one in standings.items() if one not in tested)}"
    verdicts, leans = {one.verdict for one in tested}, {one.lean for one in tested}
    if _opposite(verdicts):
        return "no"
    if Verdict.INCONCLUSIVE not in verdicts:
        return "yes"
    if _opposite(leans):
        return "lean apart"
    return "undecided" if Verdict.INCONCLUSIVE in leans else "lean alike"


def _opposite(verdicts: set[Verdict]) -> bool:
    """Whether a claim holds by one verdict, and does not by another."""
    return Verdict.CONTRADICTED in verdicts and any(one.holds for one in verdicts)


def _agree(claim: Claim, found: dict[str, Standing]) -> str:
    return "computed of XL/2" if claim.rule in COMPUTED and agreement(found) == "yes" else agreement(found)


def readable(standings: dict[Claim, dict[str, Standing]]) -> pd.DataFrame:
    """A row a claim, a column a suite, and whether they agree."""
    return pd.DataFrame(
        [
            {"claim": claim.marked} | {name: str(one) for name, one in found.items()} | {"agree": _agree(claim, found)}
            for claim, found in standings.items()
        ]
    )


def machine(standings: dict[Claim, dict[str, Standing]]) -> pd.DataFrame:
    """A row a claim and suite: verdict and lean apart, and whether all suites agree."""
    return pd.DataFrame(
        [
            {"claim": claim.marked, "suite": name, "verdict": str(one.verdict), "lean": str(one.lean)}
            | {"against": one.against, "agree": _agree(claim, found)}
            for claim, found in standings.items()
            for name, one in found.items()
        ]
    )
