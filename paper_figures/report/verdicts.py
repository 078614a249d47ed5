"""Verdicts of the page: every claim with its numbers, its rule, its p-value and the records that it was judged on."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from markupsafe import Markup, escape

from bench.store.records import Record
from bench.system.files import read_bytes
from paper_figures.claims import ledger
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.pairing import watched
from paper_figures.report.behind import Behind, Link
from paper_figures.report.parts import Part
from paper_figures.report.tables import marked

SIGNS = {"confirmed": "✓", "equivalent": "≈", "contradicted": "✗", "inconclusive": "?", "not tested": "○"}
UNTESTED = "not tested"
_PLACE = re.compile(r"(Table|Fig)\.? (\d+[a-z]?)")


@dataclass(frozen=True)
class Judged:
    """One claim of the page.

    Attributes:
        claim, published, measured, rule, amended, verdict: as in `ledger.summary`, which claims.csv has.
        sign: of the verdict.
        after: what the verdict would be without the correction, and what would decide it; may be empty.
        where: the same, with links to the parts of the page that show the figures and tables; empty for our own.
        p, p_holm: p-values as text, empty where there is none; None if the ledger has none at all.
        records: link to the records that it was judged on, if any.
    """

    claim: str
    where: Markup
    published: str
    measured: str
    rule: str
    amended: str
    verdict: str
    sign: str
    after: str
    p: str | None
    p_holm: str | None
    records: Link | None

    @property
    def kind(self) -> str:
        """The verdict as the name of a style."""
        return self.verdict.replace(" ", "-")


@dataclass(frozen=True)
class Verdicts:
    """The claims of the paper, or our own: how many have which verdict, and what is said of them all.

    Attributes:
        ours: whether they are our own.
        several: whether there are several replicates, hence intervals.
        counts: sign, verdict and number of each verdict that there is.
        sentences: what holds for all.
        tested, untested: the claims.
    """

    title: str
    ours: bool
    several: bool
    counts: tuple[tuple[str, str, int], ...]
    sentences: tuple[Markup, ...]
    tested: tuple[Judged, ...]
    untested: tuple[Judged, ...]


@dataclass(frozen=True)
class _Noting:
    """A record that notes when its measurements are read."""

    record: Record
    note: Callable[[str], object]

    def __getattr__(self, name: str) -> Any:
        if name in ("metrics", "series"):
            self.note(self.record.key)
        return getattr(self.record, name)


@dataclass(frozen=True)
class _Watched(Evidence):
    """Evidence that notes the records, other than of quality, whose measurements are read."""

    note: Callable[[str], object] = lambda key: None

    def records(self, measure: str, statuses: Sequence[str] = ("done",)) -> Any:
        for cell, record in super().records(measure, statuses):
            yield cell, (record if measure == "quality" else _Noting(record, self.note))


def verdicts(part: Part, parts: Sequence[Part], behind: Behind) -> list[Verdicts]:
    """The claims of the part that the ledger drew: the paper's, then ours."""
    path = next(path for path in part.written if path.name == "claims.csv")
    rows = [*csv.DictReader(io.StringIO(read_bytes(path).decode()))]
    tested = {row["claim"] for row in rows if row["verdict"] != UNTESTED}
    judged_on = records_of_claims(part.evidence.accounted, tested)
    paragraphs, several = _sentences(part), len(part.evidence.accounted.replicates) > 1
    found = []
    for title, ours in (("Claims of the paper", False), ("Claims of our own", True)):
        some = [row for row in rows if (row["where"] == ledger.OURS) == ours]
        claims = [_judged(row, judged_on.get(row["claim"], []), parts, behind) for row in some]
        counts = Counter(one.verdict for one in claims)
        known = tuple((sign, verdict, counts[verdict]) for verdict, sign in SIGNS.items() if counts[verdict])
        halves = (tuple(one for one in claims if (one.verdict == UNTESTED) == un) for un in (False, True))
        found.append(Verdicts(title, ours, several, known, paragraphs[ours], *halves))
    return found


def records_of_claims(evidence: Evidence, statements: Collection[str]) -> dict[str, list[str]]:
    """Keys of the records that these claims, by their statements, are judged on; `evidence`: as `accounted`."""
    found: dict[str, list[str]] = {}
    read: list[str] = []
    _ = evidence.frame, evidence.asked  # made before anybody watches: these read all records
    noting = _Watched(**{field.name: getattr(evidence, field.name) for field in fields(Evidence)}, note=read.append)
    vars(noting).update({name: vars(evidence)[name] for name in ("kept", "frame", "asked")} | {"accounted": noting})
    for claim in (*ledger.CLAIMS, *ledger.OWN_CLAIMS):
        if claim.statement not in statements:
            continue
        read.clear()
        with watched() as asked:
            ledger.judge(claim, noting)
        records = (evidence.kept[key].key if key in evidence.kept else key for key in asked)
        found[claim.statement] = [*dict.fromkeys((*records, *read))]
    return found


def _judged(row: Mapping[str, str], keys: Sequence[str], parts: Sequence[Part], behind: Behind) -> Judged:
    """A claim of the page; `row`: of claims.csv, `keys`: of the records that it is judged on."""
    href = behind.href(keys, f"Claim: {row['claim']}")
    texts: dict[str, Any] = {name: row[name] for name in ("claim", "published", "measured", "rule", "amended")}
    texts |= {name: _p(row[name]) if name in row else None for name in ("p", "p_holm")}
    return Judged(
        **texts,
        verdict=row["verdict"],
        sign=SIGNS.get(row["verdict"], "•"),
        after=_after(row),
        where=Markup() if row["where"] == ledger.OURS else _where(row["where"], parts),
        records=Link(behind.count(keys), href) if href else None,
    )


def _after(row: Mapping[str, str]) -> str:
    """The verdict without the correction, if it is another one, and what an inconclusive claim would need."""
    return row.get("words", "").removeprefix(row["verdict"]).lstrip("; ")


def _p(text: str) -> str:
    return f"{float(text):.2g}" if text else ""


def _where(where: str, parts: Sequence[Part]) -> Markup:
    """A claim's section, its figures and tables linked to the parts that show them."""
    shown = {
        number: one.anchor for one in reversed(parts) if one.room in ("tables", "figures") for number in one.numbers
    }

    def link(found: re.Match[str]) -> str:
        anchor = shown.get(("Figure" if found[1] == "Fig" else found[1], found[2]))
        return f'<a href="#{anchor}">{found[0]}</a>' if anchor else found[0]

    return Markup(_PLACE.sub(link, str(escape(where))))


def _sentences(part: Part) -> tuple[tuple[Markup, ...], tuple[Markup, ...]]:
    """What claims.md says of all verdicts, of the paper's claims and of ours: its paragraphs without counts."""
    text = read_bytes(next(path for path in part.written if path.name == "claims.md")).decode()
    halves = [half.split("\n\n") for half in text.split("\n## ")]
    found = []
    for half in (*halves, [])[:2]:
        prose = [block.strip() for block in half[1:] if block.strip() and not block.lstrip().startswith("|")]
        found.append(tuple(marked(block) for block in prose[1:]))  # the first has the counts
    return found[0], found[1]
