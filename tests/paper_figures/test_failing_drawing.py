"""Storage that fails while tables and figures are drawn: one line, and the kept files stay whole."""

import errno

import matplotlib.pyplot as plt
import pytest
from faults import fault, refused

from bench.system.command_line import run
from paper_figures import style
from paper_figures.make_all import main


@pytest.fixture
def draw(write_records, tmp_path):
    """Draws a grid that has no figure; returns the status of the command."""
    write_records(tmp_path / "results", grid="unroll", seeds=(0,))
    return lambda: run(main, ["--grid", "unroll", "--seeds", "0", "--results", str(tmp_path / "results")])


def test_what_cannot_be_drawn_is_one_line_and_what_is_there_stays(draw, tmp_path, capsys):
    assert draw() == 0
    drawn = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(path.suffix == ".tex" for path in drawn)
    for operation, name, number in (
        ("read", "/records/", errno.ESTALE),
        ("read", "/training/", errno.ETIMEDOUT),
        ("write", ".csv", errno.ENOSPC),
        ("replace", ".md", errno.EBUSY),
        ("write", ".tex", errno.EIO),
        ("open", ".tex", errno.EMFILE),
    ):
        refused(draw, operation, name, number, capsys, tmp_path)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == drawn
    (environment,) = (path for path in drawn if path.name == "environment.json")
    environment.unlink()  # written only where it lacks something
    refused(draw, "write", "environment.json", errno.ENOTCONN, capsys, tmp_path)
    assert not environment.exists()
    assert draw() == 0


def test_a_figure_is_written_whole(tmp_path):
    def figure():
        return style.panels(1, 1, height_in=1)[0]

    png, pdf = style.save(figure(), tmp_path / "figure")
    before = png.read_bytes()
    assert before.startswith(b"\x89PNG")
    assert pdf.read_bytes().startswith(b"%PDF")
    with fault("write", "figure.pdf", errno.ENOSPC), pytest.raises(OSError) as caught:
        style.save(figure(), tmp_path / "figure")
    assert caught.value.filename == str(pdf)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.pdf", "figure.png"]
    assert png.read_bytes() == before
    plt.close("all")
