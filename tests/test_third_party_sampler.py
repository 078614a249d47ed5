"""A sampler of others takes part in everything by one registration; nothing else is touched.

It is the midpoint method in sigma, which evaluates the network a second time between two timesteps.
"""

import json

import pandas as pd
import pytest

from bench import run_grid
from bench.spec.suites import SUITES
from bench.store.records import Store
from models.diffusion.samplers import SAMPLERS, register
from paper_figures import make_all


@pytest.fixture
def midpoint():
    @register("midpoint", "Midpoint", "black", "x", evaluations=2)
    def _midpoint(noise_schedule, steps):
        from models.diffusion.samplers.ddim import estimate

        def update(x, step, evaluate, draw):
            x0, noise = estimate(noise_schedule, x, step.t, evaluate)
            if step.t_prev < 0:
                return noise_schedule.add_noise(x0, noise, step.t_prev)
            between = (step.t + step.t_prev) // 2
            halfway = noise_schedule.add_noise(x0, noise, between)
            return noise_schedule.add_noise(*estimate(noise_schedule, halfway, between, evaluate), step.t_prev)

        return update

    yield SAMPLERS["midpoint"]
    del SAMPLERS["midpoint"]


def test_it_is_evaluated_and_drawn(midpoint, tiny_suite, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SUITES, "digits", tiny_suite)
    monkeypatch.setattr(run_grid, "_draw", lambda arguments: 0)  # in a process of its own, without this sampler
    flags = ["--grid", "samplers", "--seeds", "0", "--train-steps", "3", "--budget", "56", "--results", str(tmp_path)]
    assert run_grid.main([*flags, "--workers", "1"]) == 0
    store = Store(tmp_path, "digits")
    records = [json.loads(path.read_text()) for path in (store.root / "records").iterdir()]
    assert {record["status"] for record in records} == {"done"}
    ours = {(r["cell"]["model"], r["cell"]["iterations"]): r for r in records if r["cell"]["sampler"] == "midpoint"}
    spent = {schedule: (r["cell"]["steps"], r["cost"]["block_passes"]) for schedule, r in ours.items()}
    # evaluations of 4, 4 and 7 block passes, two a step and one at the last
    assert spent == {("dit", 2): (7, 13 * 4), ("fpdm", 2): (7, 13 * 4), ("fpdm", 5): (4, 7 * 7)}
    assert all(
        record["cost"]["executed_block_passes"] == record["cost"]["block_passes"]
        for (model, _), record in ours.items()
        if model == "fpdm"
    )
    capsys.readouterr()
    assert make_all.main([*flags, "--print-table"]) == 0
    assert "| Midpoint" in capsys.readouterr().out
    (table,) = store.root.rglob("samplers.csv")
    assert set(pd.read_csv(table).sampler) == set(SAMPLERS)
    assert "Midpoint: 2 evaluations a step, hence fewer steps." in table.with_suffix(".md").read_text()
    assert list(store.root.rglob("samplers.png"))
