"""What a plan says of trainings whose budget is a number of steps."""

import json
import re
from pathlib import Path

import pytest

from bench.evaluation.plan import Capacity, plan
from bench.run_grid import main
from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.system.command_line import run

HARDWARE = "an abacus, 2 cores"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def planned(tiny_suite, store):
    """The last line of the plan of both twins, trained for 2,000 steps; and a function that keeps a training's rate."""
    cells = get_cells("smoothing", tiny_suite, Selection(train_steps=2000, seeds=(0,)))

    def keep(model, steps, seconds, hardware=HARDWARE, **recipe):
        cell = next(cell for cell in get_cells("smoothing", tiny_suite, Selection(seeds=(0,))) if cell.model == model)
        identity = cell.run.identity()
        summary = {
            "run": identity | {"recipe": identity["recipe"] | recipe},
            "environment": {"hardware": hardware},
            "step": steps,
            "elapsed_s": seconds,
        }
        path = store.training_path(cell.run).with_name(f"{model}-{steps}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(summary))

    def lines(trainings=1):
        return plan(tiny_suite, store, cells, cells, Capacity(1, trainings=trainings, hardware=HARDWARE))

    return lines, keep


def test_steps_without_a_known_rate_take_an_unknown_time(planned):
    lines, keep = planned
    keep("dit", 100, 10.0, hardware="another machine")
    keep("fpdm", 100, 10.0, batch_size=999)
    train = [line for line in lines() if line.startswith("train")]
    assert all(": 2000 steps, time unknown  [" in line for line in train)
    assert lines()[-1].startswith("2 runs to train, an unknown time for 2 of them; ")
    assert "; in all more than " in lines()[-1]


def test_steps_are_priced_by_kept_trainings_on_this_hardware(planned):
    lines, keep = planned
    keep("dit", 100, 10.0)
    assert lines()[-1].startswith("2 runs to train, 3 min and an unknown time for 1 of them; ")
    keep("fpdm", 100, 5.0)
    keep("fpdm", 300, 15.0)
    keep("fpdm", 900, 9.0)
    train = [line for line in lines() if line.startswith("train")]
    assert [re.search(r"steps, (.*?)  ", line)[1] for line in train] == ["about 3 min", "about 100 s"]
    assert lines()[-1].startswith("2 runs to train, 5 min; ")
    assert lines(trainings=2)[-1].startswith("2 runs to train, 2 min; ")  # 150 s


def test_the_key_that_the_documentation_names_is_one(capsys):
    (key,) = re.findall(r"--only ([0-9a-f]+)", (ROOT / "bench" / "README.md").read_text())
    assert run(main, ["smoothing", "--only", key, "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
