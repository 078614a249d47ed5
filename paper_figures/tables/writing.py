"""Tables as files: Markdown for reading, CSV for machines, LaTeX with booktabs for papers."""

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.system.files import write_text
from paper_figures.evidence.gather import Evidence

_PUBLISHED = re.compile(r" Published\b.*?\.(?= |$)")  # a sentence of a note on the paper's numbers
_NUMBER = re.compile(r"[\d.]+(%| ±.*| \(.*| x .*)?")


@dataclass(frozen=True)
class Table:
    """A table to write (`write_table` has the same arguments); `shown` says whether `--print-table` prints it."""

    name: str
    machine: pd.DataFrame
    readable: pd.DataFrame
    note: str = ""
    caption: str | None = None
    shown: bool = True


def drawn(
    tables: Callable[[Evidence], list[Table]],
) -> tuple[Callable[[Evidence], list[Path]], Callable[[Evidence], str]]:
    """`draw` and `table_text` of a module that has only tables: write them as files, and print them as text."""

    def draw(evidence: Evidence) -> list[Path]:
        written = []
        for one in tables(evidence):
            written += write_table(evidence, one.name, one.machine, one.readable, one.note, one.caption)
        return written

    def table_text(evidence: Evidence) -> str:
        return "\n\n".join(printed(evidence, one.readable) for one in tables(evidence) if one.shown)

    return draw, table_text


def markdown(readable: pd.DataFrame) -> str:
    """A pipe table, its numbers as they are written: text to the left, numbers to the right."""
    sides = tuple("left" if _is_text(readable, name) else "right" for name in readable)
    return readable.to_markdown(index=False, disable_numparse=True, colalign=sides)


def printed(evidence: Evidence, readable: pd.DataFrame) -> str:
    """A table to print, its budgets named as in the files."""
    return markdown(_named(evidence, readable))


def _named(evidence: Evidence, readable: pd.DataFrame) -> pd.DataFrame:
    return _own(evidence, readable.rename(columns={"block passes": evidence.unit}))


def _own(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    """The table; of a user's own images without the columns and rows of published numbers, which are of others."""
    if evidence.compared.own is None:
        return table
    table = table[[name for name in table if "published" not in str(name)]]
    return table[[not any("published" in str(value) for value in row) for row in table.itertuples(index=False)]]


def write_table(
    evidence: Evidence,
    name: str,
    machine: pd.DataFrame,
    readable: pd.DataFrame,
    note: str = "",
    caption: str | None = None,
) -> list[Path]:
    """Write tables/<name>.{csv,md,tex}.

    Args:
        evidence: names the folder and has the caption.
        name: file name without suffix.
        machine: the CSV, in full precision.
        readable: Markdown and LaTeX, with headings and rounding for people.
        note: sentences below the table, between the caption and the number of missing cells.
        caption: instead of the evidence's.
    """
    readable = _named(evidence, readable)
    csv, md, tex = (evidence.path("tables", f"{name}.{suffix}") for suffix in ("csv", "md", "tex"))
    sentences = (f"{evidence.caption}." if caption is None else caption, note, evidence.missing)
    text = " ".join(" ".join(sentences).split())
    text = text if evidence.compared.own is None else _PUBLISHED.sub("", text)
    machine = _own(evidence, machine)
    write_text(csv, machine.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    write_text(md, f"{markdown(readable)}\n\n{text}\n")
    write_text(tex, latex(readable, text, f"tab:{evidence.suite}-{name.replace('_', '-')}"))
    return [csv, md, tex]


def latex(readable: pd.DataFrame, caption: str, label: str) -> str:
    """A table float with booktabs rules, numbers to the right."""
    escapes = {
        "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "±": r"$\pm$", "<": "$<$", ">": "$>$", "é": r"\'e",
        "ä": r"\"a",
        "²": r"\textsuperscript{2}",
    }  # fmt: skip

    def escape(value: object) -> str:
        return "".join(escapes.get(character, character) for character in str(value))

    escaped = readable.astype(object).map(escape).rename(columns=escape)
    columns = "".join("l" if _is_text(readable, name) else "r" for name in readable)
    return escaped.to_latex(
        index=False, escape=False, column_format=columns, caption=escape(caption), label=label, position="t"
    )


def _is_text(readable: pd.DataFrame, name: Hashable) -> bool:
    """Whether most of a column's values are no numbers, with or without an interval or a schedule."""
    values = [value for value in readable[name].map(str) if value]
    return sum(_NUMBER.fullmatch(value) is None for value in values) > len(values) / 2
