"""Trainings repeated: the same bits in as many steps, whatever the clock said."""

import json

import pytest
from edited import edit

from bench.store.records import Store


@pytest.fixture
def replay(audit, tmp_path):
    def replay(*words):
        return audit("--replay", "--out", tmp_path / "again", "--models", "fpdm", *words)

    return replay


def test_a_training_by_the_clock_is_repeated_to_the_bit(kept, replay, tmp_path):
    store, cells = kept
    run = next(cell.run for cell in cells if cell.model == "fpdm")
    summary = store.read_training(run)
    status, printed, _ = replay("--cells", 1)
    assert status == 0, printed
    (row,) = [line for line in printed.splitlines() if line.startswith(f"| {run.name}")]
    values = [value.strip() for value in row.strip("|").split("|")]
    loss = f"{summary['loss']:.6g}"
    assert values == [run.name, str(summary["step"]), loss, loss, "same", "same bits", "yes"]
    assert printed.count("same bits | yes") == 2  # and the cell's samples
    again = Store(tmp_path / "again", "digits")
    (path,) = (again.root / "training").glob("*.json")
    repeated = json.loads(path.read_text())
    assert repeated["digest"] == summary["digest"]
    assert repeated["name"].startswith(f"fpdm-{summary['step']}steps-seed0-")  # another name: its budget is no time
    assert repeated["run"]["steps"] == summary["step"]
    before = path.stat().st_mtime_ns
    assert replay("--cells", 0)[0] == 0  # it is finished there already
    assert path.stat().st_mtime_ns == before


def test_what_is_not_repeated_is_found(kept, replay):
    store, cells = kept
    run = next(cell.run for cell in cells if cell.model == "fpdm")
    log = store.metrics_log_path(run)
    first, second, *rest = log.read_text().splitlines(True)
    log.write_text("".join([first, second.replace('"loss": ', '"loss": 1'), *rest]))
    edit(store.training_path(run), step=lambda step: step - 1)  # as if it had taken fewer
    status, printed, _ = replay("--cells", 0)
    assert status == 1
    assert "| apart by step 20 | others    | NO" in printed
    assert f"{run.name}: other weights under the same conditions" in printed


def test_elsewhere_losses_are_judged_instead_of_bits(kept, replay):
    store, cells = kept
    run = next(cell.run for cell in cells if cell.model == "fpdm")
    edit(
        store.training_path(run),
        environment=lambda environment: environment | {"torch": "2.6.0"},
        digest=lambda digest: "0" * 64,
        loss=lambda loss: 1.005 * loss,
    )
    status, printed, _ = replay("--cells", 0)
    assert status == 1  # the kept weights and records are not of this digest
    (row,) = [line for line in printed.splitlines() if line.startswith(f"| {run.name}")]
    assert row.split()[-6:] == ["same", "|", "others", "|", "yes", "|"]
    assert "torch 2.10.0, not 2.6.0. Bits may differ; the last loss by 1%" in printed.replace("+cpu", "")
    edit(store.training_path(run), loss=lambda loss: 1.1 * loss)
    printed = replay("--cells", 0)[1]
    assert f"{run.name}: loss " in printed


def test_a_training_that_diverged_or_is_not_there_is_one_line(kept, replay):
    store, cells = kept
    run = next(cell.run for cell in cells if cell.model == "fpdm")
    edit(store.training_path(run), status=lambda status: "diverged")
    status, _, complaint = replay()
    assert (status, len(complaint.splitlines())) == (2, 1)
    assert f"--replay: {run.name} diverged at step " in complaint
    store.training_path(run).unlink()
    status, _, complaint = replay()
    assert (status, len(complaint.splitlines())) == (2, 1)
    assert f"--replay: {run.name} has no training in " in complaint
