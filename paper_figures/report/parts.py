"""Parts of the report: what one module drew of one grid."""

import inspect
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paper_figures.evidence.gather import Evidence

_NAMED = re.compile(r"^(Figure|Table|Beyond)[^:]*: ")  # a title's beginning; the page has the title beside it
_NUMBERED = re.compile(r"(Figure|Table)s? (\d+[a-z]?(?:(?:, | and |-)\d+[a-z]?)*)")
RESULTS = "RESULTS"  # stands for a results folder that has no place relative to the code


@dataclass(frozen=True)
class Part:
    """What one module drew.

    Attributes:
        module: name of the module, e.g. "paper_figures.figures.fig4_smoothing".
        title: its title.
        about: what it shows, in a sentence.
        evidence: of the grid that it was drawn from.
        written: the files that it wrote.
    """

    module: str
    title: str
    about: str
    evidence: Evidence
    written: tuple[Path, ...]

    @property
    def room(self) -> str:
        """The folder of the module in paper_figures: "figures", "tables", "controls", "beyond" or "claims"."""
        return [*self.module.split("."), "", ""][1]

    @property
    def anchor(self) -> str:
        """Name of the part in the page's addresses."""
        return self.module.rpartition(".")[2].replace("_", "-")

    @property
    def numbers(self) -> list[tuple[str, str]]:
        """The paper's figures and tables that the title names: ("Figure", "6b"), ("Figure", "6c")."""
        found = _NUMBERED.findall(self.title)
        return [(kind, number) for kind, numbers in found for number in re.findall(r"\d+[a-z]?", numbers)]

    def files(self, suffix: str) -> list[Path]:
        """The written files with this suffix."""
        return [path for path in self.written if path.suffix == suffix]


def part(module: object, title: str, evidence: Evidence, written: Sequence[Path]) -> Part:
    """The part that a module drew; its first line of documentation says what it shows."""
    about = next(iter((inspect.getdoc(module) or "").splitlines()), "")
    about = _NAMED.sub("", about)
    return Part(getattr(module, "__name__", ""), title, about[:1].upper() + about[1:], evidence, tuple(written))


def command(evidence: Evidence) -> str:
    """The command that makes a grid's records, without absolute paths: those would differ between machines."""
    folder = evidence.store.root.parent
    return evidence.command.replace(shlex.quote(str(folder)), RESULTS) if folder.is_absolute() else evidence.command


def drawing(evidence: Evidence) -> str:
    """The command that draws a grid's tables and figures from its records."""
    words = command(evidence).replace("bench/run_grid.py", "paper_figures/make_all.py", 1)
    return words


def of_all_grids(evidence: Evidence) -> str:
    """The command that makes the records of all grids, with the options of this grid's."""
    return command(evidence).replace(f"--grid {evidence.grid}", "--grid all", 1)
