"""No number of the paper stands beside a user's own images, in whatever is drawn."""

import pytest

from bench.spec.datasets import OwnImages
from bench.store.own_images import write_own
from paper_figures import make_all

OWN = OwnImages(500, 32, 3, ("a", "b"), "ab" * 32, "pixels", "pca", "cpu")
GRIDS = ("smoothing", "compute", "datasets", "unroll", "gradients", "allocation", "samplers", "memory")


@pytest.mark.parametrize("grid", GRIDS)
def test_no_number_of_the_paper_stands_beside_own_images(grid, tmp_path, write_records, unsaved_figures, capsys):
    write_own(tmp_path, OWN)
    write_records(tmp_path, grid, suite="folder", seeds=(0, 1, 2), hardware="abacus", reference=OWN.digest)
    assert make_all.main(["--suite", "folder", "--results", str(tmp_path), "--grid", grid, "--print-table"]) == 0
    written = [path for path in (tmp_path / "folder").rglob("*") if path.suffix in (".md", ".csv", ".tex")]
    assert written
    for text in [*(path.read_text() for path in written), capsys.readouterr().out]:
        assert "ublished" not in text


def test_claims_of_the_paper_are_not_judged_by_own_images(tmp_path, write_records, unsaved_figures):
    write_own(tmp_path, OWN)
    write_records(tmp_path, "datasets", suite="folder")
    assert make_all.main(["--suite", "folder", "--results", str(tmp_path)]) == 0
    assert (tmp_path / "folder" / "records.csv").is_file()
    assert not list((tmp_path / "folder").rglob("*claims*"))
