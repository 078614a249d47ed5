"""Tables of the page: read back from the Markdown files that were just written, each number with its records."""

import re
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from bench.system.files import read_bytes
from paper_figures.report.axes import HEADINGS, Axes
from paper_figures.report.behind import Behind

_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class TableCell:
    """A cell of a table: its text, and the address of the records behind it, if it holds a measured number."""

    text: str
    href: str = ""


@dataclass(frozen=True)
class ReadTable:
    """A table of the page.

    Attributes:
        name: of its files.
        headings: of the columns.
        numeric: whether a column holds numbers, for each.
        rows: the cells.
        caption: the sentences below it.
    """

    name: str
    headings: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    caption: Markup


def read(path: Path) -> tuple[list[str], list[bool], list[list[str]], str]:
    """Headings, which columns hold numbers, rows, and the text below, of a file that `write_table` wrote."""
    lines = read_bytes(path).decode().splitlines()
    table = [line for line in lines if line.startswith("|")]
    headings, sides, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    below = " ".join(line for line in lines if line and not line.startswith("|"))
    return headings, [side.endswith(":") and not side.startswith(":") for side in sides], rows, below


def table(path: Path, axes: Axes, behind: Behind) -> ReadTable:
    """The table in a file of Markdown, its numbers linked to their records."""
    headings, numeric, rows, below = read(path)
    keys = axes.of_table(headings, rows)
    cells = tuple(
        tuple(
            TableCell(text, behind.href(found, _about(path.stem, headings, row, heading)))
            for heading, text, found in zip(headings, row, of_row, strict=True)
        )
        for row, of_row in zip(rows, keys, strict=True)
    )
    return ReadTable(path.stem, tuple(headings), tuple(numeric), cells, marked(below))


def marked(text: str) -> Markup:
    """Text for the page: what stands between backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


def _about(name: str, headings: list[str], row: list[str], heading: str) -> str:
    """What a number is: its table, the words of its row, its column."""
    said = zip(headings, row, strict=True)
    words = [f"{of} {text}" if text[:1].isdigit() else text for of, text in said if text and of in HEADINGS]
    return f"{name}: {', '.join(words or row[:1])}: {heading}"
