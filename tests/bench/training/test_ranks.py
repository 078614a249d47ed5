"""Several ranks, gradient accumulation, mixed precision of older GPUs, the signal before a time limit."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache

import pytest
import torch
from each_family import TRAINED
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from bench.data.batches import BatchSource
from bench.evaluation.evaluator import Evaluator
from bench.machine.execution import Execution
from bench.sampling.setting import Setting
from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection, training_run
from bench.store.records import Store
from bench.system.errors import BadInputError
from bench.system.signals import OutOfTimeError
from bench.train import main
from bench.training import step as training_step
from bench.training.ranks import Ranks
from bench.training.step import TrainingStep
from bench.training.trainer import Trainer
from bench.training.turns import train_together


def flags(model):
    """Of bench/train.py: a small network, for few steps."""
    return ["--models", model, "--size", "XS/2", "--batch-size", "32", "--train-steps", "20"]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_ranks(world, arguments, script=("bench/train.py",)):
    """bench/train.py on so many ranks, as torchrun would start it."""
    common = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    common |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return [
        subprocess.Popen(
            [sys.executable, *script, *arguments],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]


def finish(processes):
    outputs = [process.communicate(timeout=300) for process in processes]
    return [process.returncode for process in processes], outputs


def log_of(results):
    (path,) = (results / "digits" / "training").glob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def weights_of(results):
    (path,) = (results / "digits" / "checkpoints").glob("*/step-*/ema.safetensors")
    return load_file(path)


@pytest.fixture(scope="module")
def by_two_ranks(tmp_path_factory):
    """Makes the results of training a contender by two ranks: by_two_ranks("dit")."""

    @cache
    def train(model):
        results = tmp_path_factory.mktemp(model)
        codes, outputs = finish(start_ranks(2, [*flags(model), "--results", str(results)]))
        assert codes == [0, 0], outputs
        return results

    return train


@pytest.mark.parametrize("model", [pytest.param("dit", marks=pytest.mark.slow), "fpdm"])
def test_one_and_two_ranks_with_the_same_global_batch_agree(model, by_two_ranks, tmp_path):
    assert main([*flags(model), "--results", str(tmp_path)]) == 0
    results = tmp_path, by_two_ranks(model)
    logs, weights = [log_of(folder) for folder in results], [weights_of(folder) for folder in results]
    (summary,) = (results[1] / "digits" / "training").glob("*.json")
    assert json.loads(summary.read_text())["ranks"] == 2
    assert [line["step"] for line in logs[0]] == [line["step"] for line in logs[1]] == [10, 20]
    for one, two in zip(*logs, strict=True):
        for name in ("loss", "mse", "vb", "grad_norm"):
            assert two[name] == pytest.approx(one[name], rel=1e-3)
    for name, one in weights[0].items():
        torch.testing.assert_close(weights[1][name], one, rtol=0, atol=2e-4)


@pytest.mark.slow
def test_two_ranks_stop_together_on_one_rank_s_signal_and_go_on(by_two_ranks, tmp_path):
    """Rank 1 alone gets SIGUSR2. The resumed run ends as an uninterrupted one does, bit for bit."""
    whole, halves = by_two_ranks("fpdm"), tmp_path
    script = (
        "-c",
        "import os, signal, sys; from bench.training import trainer\n"
        "from bench.system.command_line import run; from bench.train import main\n"
        "step = trainer.Trainer._train_step\n"
        "def stopped(self):\n"
        "    if self.step == 12 and self.ranks.rank == 1: os.kill(os.getpid(), signal.SIGUSR2)\n"
        "    step(self)\n"
        "trainer.Trainer._train_step = stopped\n"
        "sys.exit(run(main))",
    )
    codes, outputs = finish(start_ranks(2, [*flags("fpdm"), "--results", str(halves)], script))
    assert codes == [130, 130], outputs
    (folder,) = (halves / "digits" / "checkpoints").glob("*/step-*")
    assert folder.name == "step-00000013"
    codes, outputs = finish(start_ranks(2, [*flags("fpdm"), "--results", str(halves)]))
    assert codes == [0, 0], outputs
    one, two = weights_of(whole), weights_of(halves)
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_two_ranks_go_on_from_a_shorter_run_of_two_ranks(by_two_ranks, tmp_path):
    """And not from a longer one of one rank. The end is that of an uninterrupted run, bit for bit."""
    outputs = []
    for world, steps in ((2, 7), (1, 9), (2, 20)):
        arguments = [*flags("fpdm")[:-1], str(steps), "--results", str(tmp_path)]
        codes, outputs = finish(start_ranks(world, arguments))
        assert set(codes) == {0}, outputs
    (summary,) = (tmp_path / "digits" / "training").glob("fpdm-20steps-*.json")
    assert json.loads(summary.read_text())["continues"].startswith("fpdm-7steps-seed0-")
    assert "does not go on from fpdm-9steps-seed0-" in outputs[0][1]
    (path,) = (tmp_path / "digits" / "checkpoints").glob("fpdm-20steps-*/step-*/ema.safetensors")
    whole, continued = weights_of(by_two_ranks("fpdm")), load_file(path)
    assert all(torch.equal(whole[name], continued[name]) for name in whole)


@pytest.mark.slow
def test_an_interrupted_rank_lets_go_of_its_network_before_the_group_ends(tmp_path):
    """Else the network may be the last to hold the group, and wait for gloo's threads, which wait for it."""
    script = (
        "-c",
        "import os, signal, sys, weakref; import torch.distributed as dist; from bench.training import ranks, trainer\n"
        "from bench.system.command_line import run; from bench.train import main\n"
        "made, destroy, parallel = [], dist.destroy_process_group, ranks.Ranks.parallel\n"
        "def noted(self, module, device):\n"
        "    wrapped = parallel(self, module, device); made.append(weakref.ref(wrapped)); return wrapped\n"
        "def checked():\n"
        "    print('networks left:', sum(ref() is not None for ref in made), 'of', len(made)); destroy()\n"
        "step = trainer.Trainer._train_step\n"
        "def stopped(self):\n"
        "    os.kill(os.getpid(), signal.SIGTERM); step(self)\n"
        "ranks.Ranks.parallel, dist.destroy_process_group, trainer.Trainer._train_step = noted, checked, stopped\n"
        "sys.exit(run(main))",
    )
    arguments = ["--models", "dit", "--train-steps", "5", "--results", str(tmp_path)]
    codes, outputs = finish(start_ranks(2, arguments, script))
    assert codes == [130, 130], outputs
    assert all("networks left: 0 of 1" in output for output, _ in outputs)


@pytest.mark.slow
def test_bad_input_that_one_rank_meets_is_one_line_and_ends_them_all(tmp_path):
    """The checkpoint is read by rank 0 alone."""
    arguments = ["--models", "dit", "--train-steps", "4", "--results", str(tmp_path)]
    assert finish(start_ranks(1, arguments))[0] == [0]
    (path,) = tmp_path.rglob("ema.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    codes, outputs = finish(start_ranks(2, arguments))
    assert codes == [2, 2]
    errors = "".join(error for _, error in outputs)
    assert errors.count("error: ") == 1
    assert "is truncated or changed" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_rank_that_fails_ends_at_once_and_says_why(tmp_path):
    """The other waits for it, until whoever started them ends it."""
    script = (
        "-c",
        "import sys; from bench.training import trainer\n"
        "from bench.system.command_line import run; from bench.train import main\n"
        "step = trainer.Trainer._train_step\n"
        "def fails(self):\n"
        "    if self.step == 2 and self.ranks.rank == 1: raise ArithmeticError('of rank 1')\n"
        "    step(self)\n"
        "trainer.Trainer._train_step = fails\n"
        "sys.exit(run(main))",
    )
    first, second = start_ranks(2, ["--models", "dit", "--train-steps", "9", "--results", str(tmp_path)], script)
    try:
        _, error = second.communicate(timeout=120)
        assert second.returncode == 1
        assert "ArithmeticError: of rank 1" in error
    finally:
        first.kill()
        first.communicate()


def test_a_batch_that_ranks_cannot_share_is_refused():
    assert [Ranks(rank, 4).share(12) for rank in range(4)] == [range(0, 3), range(3, 6), range(6, 9), range(9, 12)]
    with pytest.raises(BadInputError, match="5 ranks cannot share a batch of 12 equally: use a multiple"):
        Ranks(0, 5).share(12)


def test_accumulated_gradients_are_those_of_the_whole_batch(tiny_run, tmp_path, cpu):
    run = tiny_run("fpdm", steps=12)
    folders = {}
    for micro_batch in (None, 5):  # 5 + 5 + 5 + 1 of 16
        store = folders[micro_batch] = Store(tmp_path / str(micro_batch), "digits")
        train_together([run], store, cpu, Execution(micro_batch=micro_batch))
    logs = [log_of(tmp_path / str(micro_batch))[0] for micro_batch in folders]
    assert logs[1]["loss"] == pytest.approx(logs[0]["loss"], rel=1e-4)
    assert logs[1]["grad_norm"] == pytest.approx(logs[0]["grad_norm"], rel=1e-4)
    assert folders[5].read_training(run)["micro_batch"] == 5


class SmallMemory:
    """A network's memory: at most `limit` images at once."""

    def __init__(self, monkeypatch, limit):
        forward = training_step.Forward.forward

        def limited(self, x, t, y, unroll):
            if len(x) > limit:
                raise torch.OutOfMemoryError("out of memory")
            return forward(self, x, t, y, unroll)

        monkeypatch.setattr(training_step.Forward, "forward", limited)


def test_micro_batches_are_halved_until_they_fit(tiny_run, store, cpu, monkeypatch):
    SmallMemory(monkeypatch, 5)
    run = tiny_run("dit")
    train_together([run], store, cpu)
    assert store.read_training(run)["micro_batch"] == 4


def test_what_does_not_fit_at_all_is_one_line(tiny_run, store, cpu, monkeypatch):
    SmallMemory(monkeypatch, 0)
    with pytest.raises(BadInputError, match=r"on 1 image\(s\) does not fit into the memory of cpu; .*--grad-check"):
        train_together([tiny_run("dit")], store, cpu)
    with pytest.raises(BadInputError, match=r"on 8 image\(s\) does not fit"):
        train_together([tiny_run("dit")], store, cpu, Execution(micro_batch=8))


def test_the_signal_before_a_time_limit_saves_and_says_so(tiny_run, store, cpu, monkeypatch):
    run = tiny_run("dit", steps=30)
    take_step = Trainer._train_step

    def signalled(self):
        if self.step == 6:
            os.kill(os.getpid(), signal.SIGUSR2)
        take_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", signalled)
        with pytest.raises(OutOfTimeError):
            train_together([run], store, cpu)
    assert [path.name for path in store.checkpoint_folder(run).glob("step-*")] == ["step-00000007"]
    train_together([run], store, cpu)
    assert store.read_training(run)["step"] == 30


def test_a_run_does_not_go_on_with_other_data(tiny_run, store, cpu):
    run = tiny_run("dit", steps=9)
    generator = torch.Generator().manual_seed(0)
    x0 = torch.rand(20, 1, 8, 8, generator=generator)

    def source(digest):
        return BatchSource(x0, torch.zeros(20, dtype=torch.int64), 10, 0.1, 1000, digest)

    first = Trainer(run, store, cpu, source("a" * 64))
    first._train_step()
    first.save()
    with pytest.raises(BadInputError, match=r"trained on other data: data aaaaaaaaaaaa, now bbbbbbbbbbbb"):
        Trainer(run, store, cpu, source("b" * 64))


class Dtypes(TorchDispatchMode):
    """Notes the types of all tensors that operations return."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, torch.Tensor):
                self.seen.add(value.dtype)
        return result


@pytest.mark.parametrize("model", TRAINED)
def test_a_v100_s_path_trains_in_fp16_with_a_scaler_and_without_bf16(model, tiny_run, store, cpu, monkeypatch):
    """As on a V100 but for the device: autocast to fp16, gradients scaled."""
    monkeypatch.setattr(training_step, "amp_dtype", lambda device: "fp16")
    run = tiny_run(model, steps=12)
    with Dtypes() as dtypes:
        train_together([run], store, cpu)
    assert torch.float16 in dtypes.seen
    assert torch.bfloat16 not in dtypes.seen
    assert store.read_training(run)["status"] == "done"
    (path,) = store.checkpoint_folder(run).glob("step-*/meta.json")
    scaler = json.loads(path.read_text())["extra"]["scaler"]
    assert 0 < scaler["scale"] <= 65536
    losses = load_file(path.parent / "state.safetensors")
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in losses.values())


@pytest.fixture
def overflowing(monkeypatch):
    """Trains in fp16, and lets gradients overflow from then on: overflowing(at=range(10))."""
    monkeypatch.setattr(training_step, "amp_dtype", lambda device: "fp16")
    gradients = TrainingStep.gradients

    def overflow(at):
        def overflowed(self, step, unroll=None):
            losses = gradients(self, step, unroll)
            if step in at:
                self.parameters[0].grad.fill_(torch.inf)
            return losses

        monkeypatch.setattr(TrainingStep, "gradients", overflowed)

    return overflow


def test_fp16_gradients_that_overflow_at_every_step_end_as_diverged(
    overflowing, tiny_suite, tiny_run, store, cpu, monkeypatch, capsys
):
    """After 40 steps in a row, an interruption among them: from the scale 2^16 to 2^-23, where the 40th step begins."""
    overflowing(range(1000))
    run = tiny_run("dit", steps=1000)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "finished", property(lambda self: self.step >= 25 or self.status != "training"))
        train_together([run], store, cpu)
    train_together([run], store, cpu)
    summary = store.read_training(run)
    reason = "fp16 gradients overflowed in 40 steps in a row"
    assert (summary["status"], summary["step"], summary["reason"]) == ("diverged", 39, reason)
    (path,) = store.checkpoint_folder(run).glob("step-*/meta.json")
    assert json.loads(path.read_text())["extra"]["scaler"]["scale"] == 2.0**-23
    train_together([run], store, cpu)  # it stays that way
    assert store.read_training(run) == summary
    cell = get_cells("datasets", tiny_suite, Selection((12,), ("dit",), 8, (0,), train_steps=1000))[0]
    record = Evaluator(Setting(store, cpu)).evaluate(cell)
    assert (record.status, record.reason) == ("diverged", f"its training diverged at step 39: {reason}")


def test_steps_that_overflow_now_and_then_are_skipped(overflowing, tiny_run, store, cpu):
    overflowing({*range(39), *range(40, 50)})
    run = tiny_run("dit", steps=52)
    train_together([run], store, cpu)
    summary = store.read_training(run)
    assert (summary["status"], summary["step"]) == ("done", 52)
    assert "reason" not in summary


def test_a_v100_gets_fp16_and_later_gpus_bf16(monkeypatch):
    for capability, expected in (((7, 0), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, is_=capability: is_)
        assert training_step.amp_dtype(torch.device("cuda")) == expected
    assert training_step.amp_dtype(torch.device("cpu")) == "fp32"


def test_the_pinned_torch_carries_code_for_a_v100():
    assert "sm_70" in torch._C._cuda_getArchFlags().split()


@pytest.mark.slow
def test_ranks_that_do_not_find_each_other_are_one_line(tmp_path, monkeypatch):
    """One of two ranks comes; the other never does."""
    script = (
        "-c",
        "import sys, datetime; from bench.training import ranks; ranks.PATIENCE = datetime.timedelta(seconds=2)\n"
        "from bench.system.command_line import run; from bench.train import main; sys.exit(run(main))",
    )
    started = time.monotonic()
    arguments = ["--models", "dit", "--train-steps", "2", "--results", str(tmp_path)]
    environment = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "RANK": "0"}
    result = subprocess.run(
        [sys.executable, *script, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: 2 ranks cannot join at 127.0.0.1:")
    assert time.monotonic() - started < 60


def test_ablations_of_a_suite_may_have_a_clock_of_their_own(tiny_suite):
    from bench.spec.selection import ablation_run

    suite = replace(tiny_suite, ablation_seconds=7.0)
    run = ablation_run(suite, Selection(), 0, n_max=9)
    assert run.recipe.seconds == 7
    assert training_run(suite, suite.subject, Selection()).recipe.seconds == tiny_suite.subject.recipe.seconds
    assert ablation_run(suite, Selection(train_seconds=3), 0, n_max=9).recipe.seconds == 3
