"""What a budget buys in block passes, MACs and seconds; where seconds come from, and what is done without them."""

import json
from dataclasses import replace
from itertools import product

import pytest

from bench import run_grid
from bench.evaluation.calibration import check_hardware
from bench.evaluation.local import Local
from bench.machine.devices import hardware_name
from bench.profiling.speed import Speeds
from bench.run_grid import main
from bench.spec.accounts import ACCOUNTS, Account, Prices
from bench.spec.arguments import Training, Which, variant_of
from bench.spec.grids.beyond import by_account
from bench.spec.grids.catalogue import get_cells
from bench.spec.grids.paper import table1
from bench.spec.grids.registry import GRIDS
from bench.spec.measurements import calibration
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from bench.store.records import Record, Store
from bench.system.errors import BadInputError
from models.families import forward_macs
from models.zoo import model_config

DIGITS = get_suite("digits")
SECONDS = {"dit_step_s": 0.028, "fpdm_step_s": 0.004, "iteration_s": 0.002, "block_s": 0.001}
DIT, FPDM = DIGITS.baseline.config, DIGITS.subject.config


def prices(dit=DIT, fpdm=FPDM, hardware="abacus", dit_step=0.028, fpdm_step=0.004, iteration=0.002, block=0.001):
    steps, parts = {"dit": dit_step, "fpdm": fpdm_step}, {"iteration": iteration, "block": block}
    return Prices({"dit": dit, "fpdm": fpdm}, 125, hardware, steps, parts)


PRICES = prices()


def write_calibration(results, hardware="abacus", status="done", **metrics):
    """Made-up prices as the suite's calibration; returns the store."""
    store, cell = Store(results, "digits"), calibration(DIGITS)
    environment = {"hardware": hardware}
    store.write(Record(cell.key, status, "", cell.row(), {}, SECONDS | metrics, environment=environment))
    return store


def test_the_price_of_a_run_is_that_of_its_steps():
    """A cached DiT runs all 28 blocks at steps 0, 3 and 6 of 7, and 4 blocks at each end at the others."""
    cached = next(one for one in DIGITS.contenders if one.family.settings).configs[-1]
    assert Account().run_price(cached, 3, 7) == 3 * 28 + 4 * 8
    assert Account("seconds", PRICES).run_price(cached, 3, 7) == pytest.approx(0.028 * 3 + 0.008 * 4)
    assert Account("macs").run_price(FPDM, 5, 40) == 40 * forward_macs(FPDM, 5)


@pytest.mark.parametrize("name", ACCOUNTS)
@pytest.mark.parametrize("layers", [0, 1, 4])
def test_fpdm_never_spends_more_than_dit_and_one_more_step_would(name, layers):
    """Of 1000 timesteps at most, which the largest budget with few iterations buys."""
    account, config = Account(name, PRICES), replace(FPDM, n_pre=layers, n_post=layers)
    capped = 0
    for budget, k in product((28, 140, 279, 280, 560, 4200), (1, 2, 5, 8, 26, 68)):
        dit_steps = account.steps(DIT, budget, DIT)
        assert dit_steps == budget // 28
        allowed = budget if name == "blocks" else dit_steps * account.step_price(DIT)
        price, steps = account.step_price(config, k), account.steps(DIT, budget, config, k)
        assert steps * price <= allowed * (1 + 1e-12)
        assert (steps + 1) * price > allowed * (1 + 1e-12) or steps == 1000
        capped += steps == 1000
    assert capped or layers


@pytest.mark.parametrize(("name", "steps"), [("blocks", 40), ("macs", 31), ("seconds", 20)])
def test_what_280_passes_buy_at_five_iterations(name, steps):
    """XL/2: 10 x 118.62 GMACs of DiT over 37.45 a step. In seconds above: 280 ms over 4 + 5 x 2: no bit is lost."""
    size = {"hidden_size": 1152, "num_heads": 16, "input_size": 32, "in_channels": 4, "num_classes": 1000}
    dit, fpdm = (replace(config, **size) for config in (DIT, FPDM))
    assert (dit, fpdm) == (model_config("dit_xl_2"), model_config("fpdm_xl_2"))
    account = Account(name, prices(dit, fpdm))
    assert account.steps(dit, 280, fpdm, 5) == steps
    assert account.steps(dit, 280, dit) == 10


def test_macs_per_step_at_xl_2_by_hand():
    """d = 1152, n = 256 tokens: a block is 12 n d^2 + 2 n^2 d, its modulation 6 d^2, the injection 4 n d^2 an iteration
    and 3 n d^2 a step; around them patches of 16 and 32 values, the timestep's 256 d + d^2 and 2 d^2 of modulation."""
    d, n = 1152, 256
    block, modulation = 12 * n * d**2 + 2 * n**2 * d, 6 * d**2
    shell = n * 16 * d + 256 * d + d**2 + 2 * d**2 + n * d * 32
    macs = Account("macs")
    assert macs.step_price(model_config("dit_xl_2")) == 28 * (block + modulation) + shell
    fpdm = shell + 2 * (block + modulation) + modulation + 3 * n * d**2 + 5 * (block + 4 * n * d**2)
    assert macs.step_price(model_config("fpdm_xl_2"), 5) == fpdm


def test_more_explicit_blocks_cost_seconds_and_other_widths_are_refused():
    wide = replace(FPDM, n_pre=2, n_post=2)
    assert PRICES.step_s(FPDM, 5) == pytest.approx(0.014)
    assert PRICES.step_s(wide, 5) == pytest.approx(0.016)
    assert PRICES.step_s(replace(wide, n_pre=0, n_post=0), 5) == pytest.approx(0.012)
    for config in (model_config("fpdm_xl_2"), replace(DIT, num_heads=8)):
        with pytest.raises(BadInputError, match="calibrated for networks of width 64, patch 2 and 4 heads, not for"):
            PRICES.step_s(config, 5)
    with pytest.raises(ValueError, match="block_s must be a positive number, got 0"):
        prices(block=0.0)


@pytest.mark.parametrize("name", ["macs", "seconds"])
def test_a_budget_below_a_step_of_dit_is_refused_but_in_block_passes(name):
    with pytest.raises(BadInputError, match=r"--budget 27: must be 28 or more, .* --account"):
        table1(DIGITS, Selection(budgets=(27,), models=("fpdm",), account=name, prices=PRICES))
    assert table1(DIGITS, Selection(budgets=(27,), models=("fpdm",)))
    assert "seconds" not in by_account(DIGITS, Selection(budgets=(27,), models=("fpdm",), prices=PRICES))


def test_an_account_changes_steps_of_fpdm_and_nothing_else():
    """Equal schedules are equal cells; macs buys none of FPDM's schedules that blocks buys, so 42 of each replicate."""
    arms = by_account(DIGITS, Selection(seeds=(0,), prices=PRICES))
    assert {name: len(cells) for name, cells in arms.items()} == dict.fromkeys(ACCOUNTS, 48)
    for blocks, macs, seconds in zip(*arms.values(), strict=True):
        assert blocks == replace(macs, steps=blocks.steps) == replace(seconds, steps=blocks.steps)
        if blocks.run.model == "dit":
            assert blocks.key == macs.key == seconds.key
        else:
            assert blocks.steps > macs.steps
            assert blocks.key != macs.key
    assert len(get_cells("accounts", DIGITS, Selection(seeds=(0,)))) == 48 + 42 + 1  # the floor
    same = prices(dit_step=28.0, fpdm_step=2.0, iteration=1.0, block=1.0)  # as block passes are
    timed = by_account(DIGITS, Selection(seeds=(0,), prices=same))
    assert timed["seconds"] == timed["blocks"]


@pytest.mark.parametrize("grid", [name for name in GRIDS if name not in ("compute", "accounts", "equal-timesteps")])
def test_every_grid_has_its_schedules_in_macs(grid):
    """The same networks and iterations, in fewer steps; what is not sampled is left alone."""
    blocks, macs = (get_cells(grid, DIGITS, Selection(seeds=(0,), account=name)) for name in ("blocks", "macs"))
    for a, b in zip(blocks, macs, strict=True):
        if a.run is None or a.config == DIT:
            assert a == b
        else:
            assert a == replace(b, steps=a.steps)
            assert b.macs <= a.budget // 28 * forward_macs(DIT) < replace(b, steps=b.steps + 1).macs
            assert b.steps < a.steps or not a.injections


@pytest.fixture
def evaluated(monkeypatch):
    """The cells that `main` would evaluate; nothing is trained, sampled or drawn."""
    found = []
    monkeypatch.setattr(Local, "run", lambda self, cells: found.extend(cells) or 0)
    monkeypatch.setattr(run_grid, "_draw", lambda arguments: 0)
    return found


def test_seconds_are_calibrated_first_and_only_once(tmp_path, monkeypatch, capsys, evaluated, cpu):
    calls = []
    monkeypatch.setattr(Speeds, "measure", lambda self, cell, inputs: calls.append(cell) or {"metrics": SECONDS})
    arguments = ["--grid", "accounts", "--seeds", "0", "--device", "cpu", "--workers", "1", "--results", str(tmp_path)]
    assert main(arguments) == 0
    assert calls == [calibration(DIGITS)]
    assert capsys.readouterr().out.startswith("calibrated: a step of DiT takes 28 ms, of FPDM 4 ms")
    here = replace(PRICES, hardware=hardware_name(cpu))
    assert evaluated == get_cells("accounts", DIGITS, Selection(seeds=(0,), prices=here))
    assert {cell.steps for cell in evaluated if cell.run and (cell.budget, cell.iterations) == (280, 5)} == {40, 32, 20}
    record = json.loads(Store(tmp_path, "digits").record_path(calls[0]).read_text())
    assert record["environment"]["threads"] >= 1
    main(arguments)
    assert len(calls) == 1


def test_what_needs_no_seconds_is_not_calibrated(tmp_path, monkeypatch, evaluated):
    monkeypatch.setattr(Speeds, "measure", lambda self, cell, inputs: pytest.fail("measured"))
    results = ["--seeds", "0", "--device", "cpu", "--results", str(tmp_path)]
    main(["--grid", "compute", "--account", "macs", *results])
    main(["--grid", "compute", "--account", "seconds", "--models", "dit", *results])
    main(["--grid", "accounts", "--plan", *results])
    main(["--grid", "accounts", "--list", *results])
    with pytest.raises(BadInputError, match="--account seconds: this suite is not calibrated"):
        main(["--grid", "compute", "--account", "seconds", "--plan", *results])
    with pytest.raises(BadInputError, match="unknown grid 'accuonts'"):
        main(["--grid", "accuonts", "--account", "seconds", *results])


def test_seconds_of_another_machine_are_read_but_not_evaluated_by(tmp_path, capsys, evaluated, cpu):
    write_calibration(tmp_path, hardware="slide rule")
    results = ["--seeds", "0", "--device", "cpu", "--results", str(tmp_path)]
    here = hardware_name(cpu)
    for arguments in (["--grid", "accounts"], ["--grid", "compute", "--account", "seconds"]):
        assert main([*arguments, "--list", *results]) == 0
        with pytest.raises(BadInputError) as error:
            main([*arguments, *results])
        assert str(error.value).startswith(f"seconds were calibrated on slide rule, this is {here}: evaluate these")
    assert evaluated == []
    main(["--grid", "compute", *results])  # those that no second decides
    assert evaluated
    check_hardware(evaluated, DIGITS, replace(PRICES, hardware="slide rule"), "cpu")


def test_seconds_leave_out_contenders_that_are_not_calibrated():
    third = replace(DIGITS.baseline, name="third", config=replace(DIT, num_heads=8))
    suite = replace(DIGITS, contenders=(*DIGITS.contenders, third))
    found = by_account(suite, Selection(prices=PRICES, budgets=(280,), seeds=(0,)))
    names = {account: {cell.run.model for cell in cells} for account, cells in found.items()}
    assert names == {"blocks": {"dit", "fpdm", "third"}, "macs": {"dit", "fpdm", "third"}, "seconds": {"dit", "fpdm"}}
    assert all(cell.macs <= 10 * forward_macs(DIT) for cell in found["macs"])
    with pytest.raises(BadInputError, match="not for dit of width 64, patch 2 and 8 heads"):
        PRICES.step_s(third.config, 0)


def test_the_folder_of_a_variant_names_its_options_in_a_fixed_order():
    which = Which("imagenet", ("dit",), budget=(140, 280), samples=100, seeds=(3,))
    training = Training(size="S/2", batch_size=64, train_steps=7)
    name = "parts/models-dit-size-S-2-batch-size-64-train-steps-7-budget-140-280-samples-100-seeds-3"
    assert variant_of(which, training) == name
    assert variant_of(Which(models=("dit", "fpdm")), Training()) == ""
    assert variant_of(Which(seeds=(0, 1, 2)), Training()) == ""  # those of digits
