"""The README counts verdicts as the kept ledgers do."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("ledger", "whose", "which"),
    [("results/digits", "claims of the paper", 0), ("results/controls/digits", "claims of our own", 1)],
)
def test_the_readme_counts_verdicts_as_the_ledger_does(ledger, whose, which):
    counts = re.findall(r"^(\d+) confirmed, (.*?)\.", (ROOT / ledger / "claims.md").read_text(), re.MULTILINE)[which]
    kept = [int(counts[0]), *map(int, re.findall(r"\d+", counts[1]))]
    text = " ".join((ROOT / "README.md").read_text().split())
    total, *said = re.search(
        rf"(\d+) {whose}\D*(\d+) (?:is|are) confirmed, (\d+) (?:is|are) equivalent, (\d+) (?:is|are) contradicted, "
        r"(\d+) (?:is|are) inconclusive and (\d+) (?:is|are) not tested",
        text,
    ).groups()
    assert [int(number) for number in said] == kept
    assert int(total) == sum(kept)
