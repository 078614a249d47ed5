"""A third family takes part in everything by one registration and one contender; nothing else is touched.

Its network iterates a block without an input injection, as a looped transformer does.
"""

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench import run_grid
from bench.spec.contenders import Contender
from bench.spec.suites import SUITES
from bench.store.records import Store
from models import cost
from models.diffusion.denoiser import Prediction
from models.families import FAMILIES, Family, around, explicit_macs, register
from models.fixed_point.solvers import FixedCount
from models.networks.blocks import BlockStack, DiTBlock
from models.networks.patch_network import PatchNetwork, initialize
from paper_figures import make_all


class Looped(PatchNetwork):
    """z = pre(x); z <- block(z | y, t), k times; post(z)."""

    def __init__(self, *, depth, num_heads, n_pre, n_post, hidden_size, **shape):
        super().__init__(hidden_size=hidden_size, **shape)
        self.pre, self.post = (BlockStack(count, hidden_size, num_heads) for count in (n_pre, n_post))
        self.block = DiTBlock(hidden_size, num_heads)
        initialize(self)

    def predict(self, x, t, y, iterations, state=None):
        label = self.y_embedder(y)
        modulation = self.block.modulation(label + self.t_embedder(t))
        solver = FixedCount(iterations) if isinstance(iterations, int) else iterations
        solution = solver(lambda z: self.block(z, modulation), self.pre(self.to_tokens(x), label))
        return Prediction(self.to_image(self.post(solution.z, label), label), None, solution)


LOOPED = Family(
    name="looped-toy",
    label="Looped",
    network=f"{__name__}:Looped",
    passes=lambda config, k: around(config) + k,
    macs=lambda config, k: (
        cost.shell_macs(config)
        + around(config) * explicit_macs(config)
        + cost.modulation_macs(config)
        + k * cost.block_macs(config)
    ),
    parameters=lambda config: cost.shell_parameters(config) + (around(config) + 1) * cost.block_parameters(config),
    parts=lambda config, k: {"block": around(config) + k},
    layout=lambda config, k: (config.n_pre, k, config.n_post),
    shape=lambda config: f"{config.n_pre}+k+{config.n_post}, looped",
    iterates=True,
    options={"n_pre": 1, "n_post": 1},
)


@pytest.fixture
def suite(tiny_suite, monkeypatch):
    """The miniature of digits with a third contender."""
    register(LOOPED)
    config = replace(tiny_suite.subject.config, family=LOOPED.name)
    third = Contender("toy", config, tiny_suite.subject.recipe, "Toy", "#009E73", "D")
    suite = replace(tiny_suite, contenders=(*tiny_suite.contenders, third))
    monkeypatch.setitem(SUITES, "digits", suite)
    yield suite
    del FAMILIES[LOOPED.name]


def test_its_costs_are_those_of_its_network(suite):
    config = suite.contender("toy").config
    network = LOOPED.build(config).eval()
    assert sum(p.numel() for p in network.parameters()) == LOOPED.parameters(config)
    x, t, y = torch.zeros(1, 1, 8, 8), torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    for k in (1, 3):
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            network.predict(x, t, y, k)
        assert counter.get_total_flops() == 2 * LOOPED.macs(config, k)


@pytest.mark.parametrize("grid", ["smoothing", "compute"])
def test_a_third_family_is_trained_evaluated_and_drawn(suite, grid, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_grid, "_draw", lambda arguments: 0)  # in a process of its own, which has no third family
    flags = ["--grid", grid, "--seeds", "0", "--train-steps", "3", "--budget", "28", "--results", str(tmp_path)]
    assert run_grid.main([*flags, "--workers", "1"]) == 0
    store = Store(tmp_path, "digits")
    records = [json.loads(path.read_text()) for path in (store.root / "records").iterdir()]
    assert {record["status"] for record in records} == {"done"}
    capsys.readouterr()
    assert make_all.main([*flags, "--print-table"]) == 0
    printed = capsys.readouterr().out
    (tables,) = store.root.rglob("tables")
    if grid == "smoothing":
        assert list(store.root.rglob("fig4_smoothing.png"))
        rows = pd.read_csv(tables / "smoothing.csv")
        assert set(rows.model) == {"dit", "fpdm", "toy"}
        assert len(rows[rows.model == "toy"]) == len(rows[rows.model == "fpdm"])
        assert not rows[rows.model == "toy"].reuse.any()
    else:
        assert [line for line in printed.splitlines() if line.startswith("|") and "| Toy" in line]
        assert "Toy" in (tables / "table1.md").read_text()
