"""The README counts verdicts as the kept ledgers do."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("whose", "which"), [("claims of the paper", 0), ("claims of our own", 1)])
def test_the_readme_counts_verdicts_as_the_ledger_does(whose, which):
    ledger = (ROOT / "results" / "digits" / "claims.md").read_text()
    counts = re.findall(r"^(\d+) confirmed, (.*?)\.", ledger, re.MULTILINE)[which]
    kept = [int(counts[0]), *map(int, re.findall(r"\d+", counts[1]))]
    text = " ".join((ROOT / "README.md").read_text().split())
    total, *said = re.search(
        rf"(\d+) {whose}\D*(\d+) (?:is|are) confirmed, (\d+) (?:is|are) equivalent, (\d+) (?:is|are) contradicted, "
        r"(\d+) (?:is|are) inconclusive and (\d+) (?:is|are) not tested",
        text,
    ).groups()
    assert [int(number) for number in said] == kept
    assert int(total) == sum(kept)
