import json
import os
import resource
import signal
import threading
import time
from dataclasses import replace

import pytest
import torch
from each_family import TRAINED
from safetensors import SafetensorError
from safetensors.torch import load_file

from bench.data.batches import BatchSource, batch_indices
from bench.data.pixels import load_dataset
from bench.spec.selection import Selection, training_run
from bench.system.command_line import run as run_command
from bench.system.errors import BadInputError
from bench.train import main
from bench.training import checkpoints, trainer
from bench.training import step as training_step
from bench.training.clock import TrainingClock
from bench.training.trainer import Trainer
from bench.training.turns import train_together
from models.autoencoder import PixelAutoencoder


@pytest.fixture(scope="module")
def source():
    data = load_dataset("digits")
    return BatchSource(PixelAutoencoder().encode(data.images), data.labels, 10, 0.1, 1000)


def newest(store, run):
    folders = list(store.checkpoint_folder(run).glob("step-*"))
    assert len(folders) == 1  # older ones are dropped
    return folders[0]


def test_every_image_comes_once_an_epoch_and_in_a_new_order():
    seen = torch.cat([batch_indices(0, step, 5, 12) for step in range(12)])  # 5 epochs of 12
    for epoch in seen.split(12):
        assert sorted(epoch.tolist()) == list(range(12))
    assert seen[:12].tolist() != seen[12:24].tolist()
    assert batch_indices(0, 7, 5, 12).tolist() == seen[35:40].tolist()
    assert batch_indices(1, 7, 5, 12).tolist() != seen[35:40].tolist()


def test_batches_depend_on_seed_and_step_alone(source):
    first, again, other = source.draw(0, 3, 64), source.draw(0, 3, 64), source.draw(0, 4, 64)
    assert torch.equal(first.noise, again.noise)
    assert torch.equal(first.t, again.t)
    assert not torch.equal(first.noise, other.noise)
    dropped = torch.cat([source.draw(0, step, 64).y == 10 for step in range(50)]).float().mean()
    assert 0.07 < dropped < 0.13


@pytest.mark.parametrize("model", TRAINED)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(model, tiny_run, store, tmp_path, cpu, monkeypatch):
    run = tiny_run(model, steps=23)
    train_together([run], store, cpu)

    resumed = type(store)(tmp_path / "resumed", "digits")
    take_step = Trainer._train_step

    def interrupted_in_step_13(self):
        if self.step == 12:
            os.kill(os.getpid(), signal.SIGINT)
        take_step(self)

    monkeypatch.setattr(Trainer, "_train_step", interrupted_in_step_13)
    with pytest.raises(KeyboardInterrupt):
        train_together([run], resumed, cpu)
    assert newest(resumed, run).name == "step-00000013"
    assert resumed.read_training(run) is None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.setattr(Trainer, "_train_step", take_step)
    train_together([run], resumed, cpu)

    for name in ("ema", "state"):
        whole, halves = (load_file(newest(s, run) / f"{name}.safetensors") for s in (store, resumed))
        assert whole.keys() == halves.keys()
        assert all(torch.equal(whole[key], halves[key]) for key in whole)
    assert store.read_training(run)["digest"] == resumed.read_training(run)["digest"]
    logs = [
        [{**json.loads(line), "elapsed_s": 0} for line in s.metrics_log_path(run).read_text().splitlines()]
        for s in (store, resumed)
    ]
    assert logs[0] == logs[1]
    assert [line["step"] for line in logs[0]] == [10, 20]


def test_training_lowers_the_loss_and_the_average_follows_the_weights(tiny_run, store, cpu):
    run = tiny_run("fpdm", steps=150)
    train_together([run], store, cpu)
    losses = [json.loads(line)["loss"] for line in store.metrics_log_path(run).read_text().splitlines()]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    saved, _ = checkpoints.load(store.checkpoint_folder(run), run)
    name = "implicit.proj_fc2.weight"
    weights, average = saved.state[f"model.{name}"], saved.ema[name]
    assert 0 < (weights - average).norm() < 0.5 * weights.norm()


def test_warmed_up_average_of_few_steps(tiny_run, store, cpu, source):
    """decay = (1 + step) / (10 + step): written out for the first three steps."""
    trainer_ = Trainer(tiny_run("dit", steps=3), store, cpu, source)
    step_ = trainer_._training_step
    expected = step_.parameters[0].detach().clone()
    for step in range(3):
        trainer_._train_step()
        decay = (1 + step) / (10 + step)
        expected = decay * expected + (1 - decay) * step_.parameters[0].detach()
    torch.testing.assert_close(step_.ema[0], expected, rtol=0, atol=1e-7)


def test_twins_get_equal_seconds_in_alternating_slices(tiny_suite, store, cpu, monkeypatch):
    suite = tiny_suite.changed(recipe={"seconds": 2, "slice_s": 0.5})
    runs = [training_run(suite, one, Selection()) for one in suite.chosen(None)]
    order = []
    train_slice = Trainer.train_slice
    monkeypatch.setattr(
        Trainer, "train_slice", lambda self, *args: (order.append(self.run.model), train_slice(self, *args))[1]
    )
    train_together(runs, store, cpu)
    assert order[:4] == ["dit", "fpdm"] * 2
    for run in runs:
        summary = store.read_training(run)
        assert summary["status"] == "done"
        assert summary["elapsed_s"] >= 2
        assert summary["step"] > 3


def test_a_diverged_run_is_a_result(tiny_run, store, cpu, monkeypatch):
    loss_of = training_step.diffusion_loss

    def explode(schedule, prediction, *args):
        return loss_of(schedule, prediction * float("inf"), *args)

    monkeypatch.setattr(training_step, "diffusion_loss", explode)
    run = tiny_run("dit")
    train_together([run], store, cpu)
    assert store.read_training(run)["status"] == "diverged"
    train_together([run], store, cpu)  # it stays that way and is not trained again
    assert store.read_training(run)["step"] == 0


def test_a_summary_that_a_kill_prevented_is_written_by_the_next_run(tiny_run, store, cpu):
    run = tiny_run("dit", steps=2)
    train_together([run], store, cpu)
    summary = store.read_training(run)
    store.training_path(run).unlink()
    train_together([run], store, cpu)
    again = store.read_training(run)
    assert {k: again[k] for k in ("digest", "status", "step")} == {k: summary[k] for k in ("digest", "status", "step")}


def test_seconds_of_different_hardware_are_not_added_up(tiny_suite, store, cpu, monkeypatch):
    run = training_run(tiny_suite, tiny_suite.contender("dit"), Selection(train_seconds=60))
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "finished", property(lambda self: self.step >= 3 or self.status != "training"))
        train_together([run], store, cpu)
    monkeypatch.setattr(trainer, "hardware_name", lambda device: "abacus")
    with pytest.raises(BadInputError, match="not abacus: their seconds do not add up"):
        train_together([run], store, cpu)


def test_a_run_is_trained_by_one_process_at_a_time(tiny_run, store, cpu, capsys):
    run = tiny_run("dit", steps=2)
    folder, there = store.checkpoint_folder(run), threading.Event()

    def other():
        with checkpoints.exclusive(folder):
            there.set()
            while "waiting" not in "".join(said):
                said.append(capsys.readouterr().err)
                time.sleep(0.01)
            assert list(folder.glob("step-*")) == []  # nothing was trained meanwhile

    said = []
    thread = threading.Thread(target=other)
    thread.start()
    assert there.wait(60)
    train_together([run], store, cpu)
    thread.join()
    assert f"waiting for {run.name}, which another process trains" in "".join(said)
    assert store.read_training(run)["status"] == "done"


def test_ranks_do_not_wait_for_another_process(tiny_run, store):
    folder = store.checkpoint_folder(tiny_run("dit"))
    with (
        checkpoints.exclusive(folder),
        pytest.raises(BadInputError, match="being trained by another process"),
        checkpoints.exclusive(folder),
    ):
        pass


def test_ctrl_c_ends_the_wait(tiny_run, store, cpu):
    run = tiny_run("dit", steps=2)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with checkpoints.exclusive(store.checkpoint_folder(run)), pytest.raises(KeyboardInterrupt):
        train_together([run], store, cpu)
    assert store.read_training(run) is None


def test_a_second_ctrl_c_ends_the_step_under_way(tiny_run, store, cpu, monkeypatch, capfd):
    run = tiny_run("dit", steps=20)
    reached = []

    def stuck(self):
        if self.step == 3:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                reached.append(capfd.readouterr().err)
        take_step(self)

    take_step = Trainer._train_step
    monkeypatch.setattr(Trainer, "_train_step", stuck)
    with pytest.raises(KeyboardInterrupt):
        train_together([run], store, cpu)
    assert len(reached) == 1  # the second one raised
    assert reached[0].endswith("\nfinishing the step under way; Ctrl-C again ends at once\n")
    assert list(store.checkpoint_folder(run).glob("step-*")) == []
    monkeypatch.setattr(Trainer, "_train_step", take_step)
    train_together([run], store, cpu)
    assert store.read_training(run)["step"] == 20


def test_the_clock_runs_inside_its_context_only(cpu, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("bench.training.clock.time.perf_counter", lambda: now[0])
    clock = TrainingClock(cpu, elapsed_s=5.0)
    with clock.running():
        now[0] += 2
        assert clock.read() == 7
    now[0] += 50
    assert clock.read() == 7
    with clock.running():
        now[0] += 1
    assert clock.read() == 8


@pytest.fixture
def trained(tiny_run, store, cpu):
    run = tiny_run("dit", steps=2)
    train_together([run], store, cpu)
    return run, store.checkpoint_folder(run)


@pytest.mark.parametrize("name", ["ema", "state"])
def test_a_truncated_checkpoint_is_refused(trained, name):
    run, folder = trained
    path = next(folder.glob(f"*/{name}.safetensors"))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BadInputError, match="truncated or changed"):
        checkpoints.load(folder, run)


def test_a_checkpoint_of_another_width_is_refused(trained, tiny_run):
    run, folder = trained
    wider = replace(run, config=replace(run.config, hidden_size=32))
    with pytest.raises(BadInputError, match=r"its config.hidden_size is 16, expected 32"):
        checkpoints.find_ema(folder, wider)


def test_a_damaged_description_is_refused(trained):
    run, folder = trained
    next(folder.glob("*/meta.json")).write_text("{")
    with pytest.raises(BadInputError, match=r"meta.json is damaged"):
        checkpoints.load(folder, run)


def test_a_checkpoint_that_fails_to_be_written_leaves_the_last_one(trained, monkeypatch):
    run, folder = trained
    saved, _ = checkpoints.load(folder, run)

    def full(tensors, path):
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(folder, run, replace(saved, step=3))
    assert {path.name for path in folder.iterdir()} == {"config.json", "lock", "model.safetensors", "step-00000002"}
    assert checkpoints.load(folder, run)[0].step == 2


def test_who_takes_over_a_run_removes_what_a_killed_process_left(trained, tiny_run, store, cpu):
    """Half a checkpoint, and one that it had begun to delete, of a run that has ended and is never saved again."""
    run, folder = trained
    store.training_path(run).unlink()  # killed before its summary
    for name in (".step-00000001", "step-00000001"):
        (folder / name).mkdir()
        (folder / name / "ema.safetensors").write_bytes(b"half")
    train_together([run], store, cpu)
    assert {path.name for path in folder.iterdir()} == {"config.json", "lock", "model.safetensors", "step-00000002"}
    assert store.read_training(run)["status"] == "done"


@pytest.fixture
def small_files():
    """Files are limited to 100 kB."""
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


def test_storage_that_gives_out_is_one_line_and_status_2(tmp_path, small_files, capsys):
    """The first checkpoint cannot be written."""
    arguments = ["--models", "fpdm", "--batch-size", "8", "--train-steps", "1", "--results", str(tmp_path)]
    assert run_command(main, arguments) == 2
    complaint = capsys.readouterr().err
    assert complaint.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in complaint
    assert not list(tmp_path.rglob("*.safetensors"))
