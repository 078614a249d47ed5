"""FD by number of images, and the spread of trainings and samples, as tables of made-up records."""

from made_up import SEEDS, rewrite, shown

from bench.spec.cells import Cell
from paper_figures.beyond import noise, sample_count


def test_fd_by_number_of_images_is_of_the_chosen_schedules(tmp_path, write_records):
    """FD of n images is 3 + 750 / n of DiT, 1 + 1500 / n of FPDM: the bias is the models' own."""

    def measured(record):
        level, bias = (3, 750) if record.cell["model"] == "dit" else (1, 1500)
        schedule = 0.0 if record.cell["iterations"] in (5, 26) else 1.0
        found = {
            f"fid{name}": level + schedule + bias / n for name, n in (("", 750), ("_half", 375), ("_quarter", 187))
        }
        return record.metrics | found | {"fid_limit": level + schedule}

    evidence = write_records(
        tmp_path, "compute", seeds=SEEDS, budgets=(280,), skip=lambda cell: not isinstance(cell, Cell)
    )
    evidence = rewrite(evidence, lambda cell: isinstance(cell, Cell), metrics=measured)
    table = shown(sample_count, evidence)["sample_count"].set_index(["sampler", "contender"])
    row = table.loc[("DDPM", "FPDM")]
    assert row[["FD at 187", "FD at 375", "FD at 750", "FD, limit"]].tolist() == [
        f"{1 + 1500 / 187:.3f} ± 0.000", "5.000 ± 0.000", "3.000 ± 0.000", "1.000 ± 0.000"
    ]  # fmt: skip
    assert row.schedule == "5 x 40"
    assert table.loc[("DDIM", "DiT"), "FD, limit"] == "3.000 ± 0.000"


def test_older_records_have_no_such_table(tmp_path, write_records):
    evidence = write_records(
        tmp_path, "compute", seeds=SEEDS, budgets=(280,), skip=lambda cell: not isinstance(cell, Cell)
    )
    assert sample_count.draw(evidence) == []


def test_noise_is_a_row_a_contender(tmp_path, write_records):
    def fid(cell):
        """Trainings a factor of 2 apart, samples 1%."""
        return 2.0**cell.run.seed * 1.01 ** ((cell.seed - cell.run.seed) // 2000)

    table = shown(noise, write_records(tmp_path, "panel", seeds=SEEDS, fid=fid))["noise"].set_index("contender")
    assert table.index.tolist() == ["DiT", "FPDM"]
    assert table.loc["DiT", ["trainings", "sampling seeds of each", "FD"]].tolist() == ["3", "3", "2.020"]
    assert table.loc["DiT", ["between trainings", "between samples"]].tolist() == ["100%", "1%"]


def test_one_training_has_no_noise_table(tmp_path, write_records):
    assert noise.draw(write_records(tmp_path, "panel", seeds=(0,))) == []
