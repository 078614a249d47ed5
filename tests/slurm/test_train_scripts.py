"""The headers train_<suite>.sh over one body, and the contender that a task of their array trains."""

import re
from pathlib import Path

import pytest

from bench.spec.suites import SUITES
from bench.system.errors import BadInputError
from slurm.train import contenders

FOLDER = Path(__file__).parents[2] / "slurm"


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_has_a_header_that_asks_for_its_gpus(name):
    text = (FOLDER / f"train_{name}.sh").read_text()
    assert text.rstrip().endswith(f' {name} "$@"')
    ranks = int(re.search(r"--ntasks(?:-per-node)?=(\d+)", text)[1])
    assert ranks == SUITES[name].gpus
    assert f"#SBATCH --array=0-{len(SUITES[name].chosen(None)) - 1}\n" in text


def test_headers_name_their_own_file_and_no_model():
    headers = sorted(FOLDER.glob("train_*.sh"))
    assert len(headers) == len(SUITES) + 1
    for path in headers:
        text = path.read_text()
        assert not re.search(r"\b(dit|fpdm)\b", text)
        if path.name == "train_body.sh":
            assert len(re.findall(r"^srun ", text, re.MULTILINE)) == 1
        else:
            assert rf"/train_\){path.stem.removeprefix('train_')}.sh" in text
            assert "srun" not in text


def test_the_index_of_an_array_task_chooses_the_contender(monkeypatch):
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    assert contenders(("a", "b")) == ("a", "b")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    assert contenders(("a", "b")) == ("b",)
    with pytest.raises(BadInputError, match=r"array task 1 has no contender: there are 1 \(b\); .* --array=0-0"):
        contenders(("b",))
