import threading

import pytest
import torch

from bench.data.batches import BatchSource
from bench.machine.execution import EAGER, Execution
from bench.spec.contenders import TrainingRecipe
from bench.spec.suites import get_suite
from bench.training.step import TrainingStep
from bench.training.threads import BatchThreads, add
from models.families import build
from models.fixed_point.unroll import Unroll


@pytest.mark.parametrize(
    ("threads", "images", "sizes", "each"),
    [(1, 128, [128], 1), (2, 128, [64, 64], 1), (2, 63, [63], 2), (3, 100, [33, 33, 34], 1), (64, 128, [32] * 4, 16)],
)
def test_a_batch_is_cut_into_pieces_of_at_least_32_images(threads, images, sizes, each):
    pieces = BatchThreads(threads).pieces(images)
    assert [piece.stop - piece.start for piece in pieces] == sizes
    assert [i for piece in pieces for i in range(images)[piece]] == list(range(images))
    assert BatchThreads(threads).each(images) == each


def test_pieces_have_their_own_threads_and_errors_are_raised_when_all_have_ended():
    ended, both = [], threading.Barrier(2, timeout=10)

    def work(piece):
        both.wait()  # it fails unless both work at the same time
        ended.append((piece.start, torch.get_num_threads()))
        if piece.start == 0:
            raise torch.OutOfMemoryError("too large")
        return piece

    before, threads = torch.get_num_threads(), BatchThreads(2)
    with pytest.raises(torch.OutOfMemoryError):
        threads.map(work, threads.pieces(64))
    assert sorted(ended) == [(0, 1), (32, 1)]
    assert torch.get_num_threads() == before


def test_gradients_are_added_to_those_that_exist():
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
    parameters[0].grad = torch.ones(2)
    add(parameters, [(torch.ones(2), None), (torch.ones(2), None)])
    assert parameters[0].grad.tolist() == [3, 3]
    assert parameters[1].grad is None


@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about what it does itself
@pytest.mark.parametrize(
    "execution",
    [
        EAGER,
        Execution(micro_batch=70),
        Execution(grad_checkpointing=True),
        pytest.param(Execution(compiled=True), marks=pytest.mark.slow),  # two threads must not compile at once
    ],
    ids=lambda execution: str(execution) or "eager",
)
@pytest.mark.parametrize("name", ["dit-3", "fpdm", "looped"])
def test_gradients_and_losses_in_pieces_are_those_of_the_whole(name, execution, monkeypatch):
    config = get_suite("digits").contender(name).config
    torch.manual_seed(0)
    data = BatchSource(torch.randn(200, 1, 8, 8), torch.randint(10, (200,)), 10, 0.1, 1000)
    found = []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        torch.manual_seed(0)
        model = build(config).train()
        for p in model.parameters():  # adaLN-zero would hide gradients
            torch.nn.init.normal_(p, std=0.05)
        step = TrainingStep(model, TrainingRecipe(1, 130, 1e-3), torch.device("cpu"), data, execution=execution)
        step.warm_up()
        losses = step.gradients(0, Unroll(2, 2))
        found.append([losses, *[p.grad for p in step.parameters]])
    for whole, pieces in zip(*found, strict=True):
        torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-5 * float(whole.abs().max()))
