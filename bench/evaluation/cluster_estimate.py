"""Estimate of the GPU-hours, GPU memory and disk that a cluster suite takes. Needs neither data nor GPU."""

from collections.abc import Sequence

from bench.spec.cells import TrainingRun
from bench.spec.contenders import Contender, Suite
from bench.spec.datasets import get_dataset
from bench.spec.measurements import AnyCell
from bench.spec.suites import DAY, get_suite
from bench.store.records import Store
from bench.training.runs import training_seconds
from models.families import forward_macs, parameters

GIB, GB = 2**30, 1e9
STATE_BYTES = 16  # per parameter in a checkpoint: weight, average, two moments, in float32
MOMENT_BYTES = 2  # float16
USABLE = 0.9  # share of a GPU's memory; the rest: CUDA context, unused blocks of the allocator, gradient averaging
REFERENCE_BYTES = 2048 * 2048 * 8 + 10_000 * 2048 * 4  # covariance, and the features kept for KID


def assumed_gpu_macs_per_s() -> float:
    """MACs per second of a V100, from the paper: 400,000 steps of DiT on 512 images in four days on eight (Sec. 4.1).

    A training step counts as three forward passes.
    """
    return 3 * forward_macs(get_suite("imagenet").baseline.config) * 400_000 * 512 / (4 * DAY * 8)


def latents_bytes(suite: Suite) -> int:
    """Bytes of the latents: moments of every image and its mirror image, as `bench/encode_latents.py` writes them."""
    config = suite.baseline.config
    return get_dataset(suite.dataset).count * 2 * 2 * config.in_channels * config.input_size**2 * MOMENT_BYTES


def cluster_estimate(
    suite: Suite,
    store: Store,
    runs: Sequence[TrainingRun],
    todo: Sequence[AnyCell],
    rate: float,
    gpu_gib: float | None = None,
) -> list[str]:
    """The estimate, as lines to print.

    Args:
        suite: one that trains on several GPUs.
        store: the suite's results.
        runs: runs to train.
        todo: cells to evaluate.
        rate: MACs per second of one GPU.
        gpu_gib: memory of one GPU, if it is known; the lines then say what fits.

    Raises:
        BadInputError: the GPUs cannot share the training batch equally.
    """
    training_h = suite.gpus * training_seconds(runs) / 3600
    sampling_h = sum(cell.work for cell in todo) / rate / 3600
    trained = {one.name for one in suite.chosen(None)} | {run.model for run in runs}
    contenders = [one for one in suite.contenders if one.name in trained]
    weights = sum(STATE_BYTES * parameters(run.config) for run in runs)
    disk = latents_bytes(suite) + weights + REFERENCE_BYTES
    return [
        f"GPU-hours: {training_h:,.0f} of training, {suite.gpus} at once; about {sampling_h:,.0f} of sampling, one "
        "GPU a cell (decoding and features come on top)",
        *(_memory(suite, contender, gpu_gib) for contender in contenders),
        f"disk: {disk / GB:,.0f} GB: latents {latents_bytes(suite) / GB:,.1f}, checkpoints of {len(runs)} runs "
        f"{weights / GB:,.1f} (while one is written, its last one stays), reference {REFERENCE_BYTES / GB:,.1f}",
    ]


def _memory(suite: Suite, contender: Contender, gpu_gib: float | None) -> str:
    from bench.profiling.memory import sampling_memory, training_memory
    from bench.training.ranks import Ranks
    from models.fixed_point.unroll import Unroll

    recipe, config = contender.recipe, contender.config
    share = len(Ranks(0, suite.gpus).share(recipe.batch_size))

    def gib(size: int, checkpointing: bool = False) -> float:
        unroll = Unroll(recipe.n_max, recipe.m_max)
        return training_memory(config, size, unroll, "fp16", checkpointing).peak_bytes / GIB

    sizes = [share >> halvings for halvings in range(share.bit_length())]
    text = f"memory of a GPU, computed: {contender.name} trains (fp16) in {gib(share):.1f} GiB for its {share} images "
    text += "at once, "
    text += f"{gib(sizes[1]):.1f} GiB in micro-batches of {sizes[1]}, " if share > 1 else ""
    text += f"{gib(share, checkpointing=True):.1f} GiB with --grad-checkpointing; "
    if gpu_gib is not None:
        fits = next((size for size in sizes if gib(size) < USABLE * gpu_gib), None)
        most = "nothing" if fits is None else "all of them" if fits == share else f"micro-batches of {fits}"
        text += f"{most} should fit into {gpu_gib:g} GiB; "
    batch, dtype = suite.evaluation.batch_size, suite.evaluation.dtype
    sampling = sampling_memory(config, batch, recipe.n_max, dtype).peak_bytes / GIB
    return f"{text}samples {batch} images in {sampling:.1f} GiB"
