"""The page: gathers what was drawn and the records behind it, fills the template, and writes report.html."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.spec.grids.catalogue import ALL
from bench.spec.grids.registry import GRIDS
from bench.spec.measurements import AnyCell
from bench.system.files import write_text
from paper_figures.evidence.gather import Evidence
from paper_figures.report import parts as parts_of
from paper_figures.report.axes import Axes
from paper_figures.report.behind import Behind
from paper_figures.report.figures import Picture, picture
from paper_figures.report.limits import limits
from paper_figures.report.made import made
from paper_figures.report.parts import Part
from paper_figures.report.records import KINDS, LABELS, Entry, entries, groups, metrics
from paper_figures.report.tables import ReadTable, table
from paper_figures.report.verdicts import verdicts

TEMPLATES = Path(__file__).with_name("templates")
LEDGER, FRONTIER, SHALLOW, FIGURE_4 = "ledger", "frontier", "contenders", "fig4-smoothing"  # parts that come first
ROOMS = {  # folder of paper_figures -> heading
    "tables": "Tables of the paper",
    "figures": "Figures of the paper",
    "controls": "Controls",
    "beyond": "Beyond the paper",
    "claims": "Claims by suite",
}
SHOWN = 3  # missing cells that are named one by one


@dataclass(frozen=True)
class Section:
    """A part with its pictures and tables."""

    part: Part
    pictures: tuple[Picture, ...]
    tables: tuple[ReadTable, ...]
    records: str
    records_href: str
    command: str
    drawing: str
    missing: tuple[str, ...]


def write(parts: Sequence[Part], undrawn: Sequence[Evidence], rows: pd.DataFrame) -> Path | None:
    """Write report.html beside the tables of a suite; nothing if nothing was drawn.

    The same records and drawn files give the same bytes.

    Args:
        parts: what was drawn, in any order.
        undrawn: evidence of the grids that nothing was drawn of.
        rows: the records as `bench.store.table.load` returns them.
    """
    if not parts:
        return None
    path = parts[0].evidence.path("", "report.html")
    write_text(path, text(parts, undrawn, rows))
    return path


def text(parts: Sequence[Part], undrawn: Sequence[Evidence], rows: pd.DataFrame) -> str:
    """The page; arguments as of `write`."""
    evidence = parts[0].evidence
    undrawn = [one for one in undrawn if one.grid in GRIDS]
    suite, store = evidence.compared, evidence.store
    known = entries(store.records(), rows)
    grids = {one.evidence.grid: one.evidence for one in parts if one.evidence.grid != ALL}
    cells: dict[str, AnyCell] = {
        cell.key: cell for one in (*(p.evidence for p in parts), *undrawn) for cell in one.cells
    }
    found = groups(known.values(), suite, {key: str(cell) for key, cell in cells.items() if key in known})
    behind = Behind(known, found)
    ledgers = [one for one in parts if one.room == "claims" and one.anchor == LEDGER]
    judged = [some for one in ledgers for some in verdicts(one, parts, behind)]
    sections = {one.anchor: section(one, known, behind) for one in sorted(parts, key=_order) if one not in ledgers}
    whole = FRONTIER in sections
    frontier = [sections.pop(name) for name in ((FRONTIER, SHALLOW) if whole else (FIGURE_4,)) if name in sections]
    runs = (cell.run for cell in cells.values() if cell.run is not None)
    of_all = made([*known.values()], runs, suite, store)
    shown = [*grids.values()] or [evidence]
    corrected = any(claim.p_holm is not None for some in judged for claim in (*some.tested, *some.untested))
    measured = {name for one in known.values() if one.measure == "quality" for name in metrics(one)}
    page = (
        _templates()
        .get_template("page.html.jinja")
        .render(
            suite=suite,
            evidence=evidence,
            facts=_facts(evidence, shown, known),
            judged=judged,
            frontier=frontier,
            whole=whole,
            frontier_command=next((parts_of.command(one) for one in undrawn if one.grid == "controls"), ""),
            rooms=_by_room(sections),
            undrawn=[(one, GRIDS[one.grid], parts_of.command(one)) for one in undrawn],
            limits=limits([*known.values()], shown, undrawn, corrected),
            made=of_all,
            behind=behind,
            kinds=[
                (name, KINDS.get(name, name), [g for g in found if g.entries[0].measure == name])
                for name in _kinds(found)
            ],
            metric_names=[name for name in (*LABELS, *sorted(measured - LABELS.keys())) if name in measured],
            metric_labels=LABELS,
            metrics=metrics,
            again=parts_of.of_all_grids(shown[0]),
            placeholder=parts_of.RESULTS,
        )
    )
    return "\n".join(line for line in page.splitlines() if line.strip()) + "\n"


def section(part: Part, known: Mapping[str, Entry], behind: Behind) -> Section:
    """The section of the page for a part."""
    evidence = part.evidence
    axes = Axes(evidence, known)
    keys, absent = [record.key for record in evidence.kept.values()], evidence.absent
    protocol = f"{evidence.caption}." if evidence.caption else ""
    command = parts_of.command(evidence)
    missing = [f"{line}. Made by: {command} --only {key}" for key, line in [*absent.items()][:SHOWN]]
    return Section(
        part,
        tuple(picture(path, part.title, part.about, protocol) for path in part.files(".png")),
        tuple(table(path, axes, behind) for path in part.files(".md")),
        behind.count(keys),
        behind.href(keys, f"Grid {evidence.grid}") if evidence.grid != ALL else "#records",
        command,
        parts_of.drawing(evidence),
        tuple(missing) if evidence.grid != ALL else (),
    )


def _templates() -> Environment:
    loader = FileSystemLoader(TEMPLATES)
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["number"] = _number
    return made


def _number(value: Any) -> str:
    """A number with as many digits as matter; whole numbers as they are."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool | str):
        return str(value)
    if math.isinf(value):
        return "∞"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.5g}"


def _order(part: Part) -> tuple[Any, ...]:
    """The paper's numbers first, "2" before "12" and "6a" before "6b"; other parts by title."""
    numbers = [(int("".join(filter(str.isdigit, number))), number) for _, number in part.numbers]
    return (0, *numbers[0], part.title) if numbers else (1, 0, "", part.title)


def _by_room(sections: Mapping[str, Section]) -> list[tuple[str, str, list[Section]]]:
    """Anchor, heading and sections of each folder that has any; of folders without a heading in the last."""
    found: dict[str, list[Section]] = {room: [] for room in ROOMS}
    for one in sections.values():
        found.setdefault(one.part.room, []).append(one)
    return [(f"room-{room}", ROOMS.get(room, room), some) for room, some in found.items() if some]


def _kinds(found: Sequence[Any]) -> list[str]:
    return [*dict.fromkeys(group.entries[0].measure for group in found)]


def _facts(evidence: Evidence, shown: Sequence[Evidence], known: Mapping[str, Entry]) -> list[tuple[str, str]]:
    """What the page is of, at a glance."""
    replicates = max((len(one.replicates) for one in shown if len(one.frame)), default=0)
    machines = sorted({str(one.row["hardware"]) for one in known.values() if one.row["hardware"]})
    days = sorted(one.record.finished_at[:10] for one in known.values() if one.record.finished_at)
    sampled = next((one for one in shown if one.quality), None)
    cell = sampled.quality[0] if sampled else None
    facts = [
        ("Suite", evidence.suite),
        ("Training", f"{cell.run.budget_text} each" if cell else ""),
        ("Replicates", str(replicates) if replicates else ""),
        ("Samples", f"{cell.protocol.samples:,} a replicate" if cell else ""),
        ("Features", sampled.extractor if sampled else ""),
        ("Records", f"{len(known):,}"),
        ("Machines", "; ".join(machines)),
        ("Made", " to ".join(dict.fromkeys((days[0], days[-1]))) if days else ""),
        ("Drawn for", evidence.variant.removeprefix("parts/")),
    ]
    return [(name, value) for name, value in facts if value]
