"""Tables as files: Markdown for reading, CSV for machines, LaTeX with booktabs for papers."""

from pathlib import Path

import pandas as pd

from paper_figures.gather import Evidence


def markdown(readable: pd.DataFrame) -> str:
    """A pipe table, its numbers as they are written."""
    return readable.to_markdown(index=False, disable_numparse=True, stralign="right")


def write_table(
    evidence: Evidence, name: str, machine: pd.DataFrame, readable: pd.DataFrame, note: str = ""
) -> list[Path]:
    """Write tables/<name>.{csv,md,tex}.

    Args:
        evidence: where to write, and the caption.
        name: file name without suffix.
        machine: full precision, for the CSV.
        readable: headings and rounding for people, for Markdown and LaTeX.
        note: a sentence or two below the table, after the caption.
    """
    csv, md, tex = (evidence.path("tables", f"{name}.{suffix}") for suffix in ("csv", "md", "tex"))
    text = f"{evidence.caption}. {note}".strip()
    machine.to_csv(csv, index=False, float_format="%.6g", lineterminator="\n")
    md.write_text(f"{markdown(readable)}\n\n{text}\n")
    tex.write_text(latex(readable, text, f"tab:{evidence.suite}-{name.replace('_', '-')}"))
    return [csv, md, tex]


def latex(readable: pd.DataFrame, caption: str, label: str) -> str:
    """A table float with booktabs rules, numbers to the right."""
    escapes = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "±": r"$\pm$", "<": "$<$", ">": "$>$", "é": r"\'e"}

    def escape(value: object) -> str:
        return "".join(escapes.get(character, character) for character in str(value))

    escaped = readable.astype(object).map(escape).rename(columns=escape)
    columns = "".join("l" if readable[name].map(lambda v: str(v)[:1].isalpha()).all() else "r" for name in readable)
    return escaped.to_latex(
        index=False, escape=False, column_format=columns, caption=escape(caption), label=label, position="t"
    )
