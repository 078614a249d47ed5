"""What a cluster suite takes, before anything starts: GPU-hours, memory of a GPU, disk. Needs neither data nor GPU."""

from collections.abc import Sequence

from bench.cells import TrainingRun
from bench.measurements import AnyCell
from bench.metrics.cost import forward_macs, parameters
from bench.store import Store
from bench.suites import DAY, Suite, get_suite

GIB, GB = 2**30, 1e9
IMAGES = {"imagenet": 1_281_167, "celebahq": 30_000, "ffhq": 70_000, "church": 126_227}
STATE_BYTES = 16  # of a parameter in a checkpoint: weight, average, two moments, in float32
MOMENT_BYTES = 2  # float16
REFERENCE_BYTES = 2048 * 2048 * 8 + 10_000 * 2048 * 4  # covariance, and the features kept for KID


def assumed_gpu_macs_per_s() -> float:
    """What a V100 does, by the paper's word: 400,000 steps of DiT on 512 images in four days on eight (Sec. 4.1).

    A training step is taken as three forward passes.
    """
    return 3 * forward_macs(get_suite("imagenet").dit) * 400_000 * 512 / (4 * DAY * 8)


def latents_bytes(suite: Suite) -> int:
    """Moments of every image and its mirror image, as `bench/encode_latents.py` writes them."""
    config = suite.dit
    return IMAGES[suite.dataset] * 2 * 2 * config.in_channels * config.input_size**2 * MOMENT_BYTES


def needs(suite: Suite, store: Store, runs: Sequence[TrainingRun], todo: Sequence[AnyCell], rate: float) -> list[str]:
    """Lines for people.

    Args:
        suite: one that trains on several GPUs.
        store: what is there.
        runs: those to train.
        todo: cells to evaluate.
        rate: MACs per second of one GPU.
    """
    training_h = suite.gpus * sum(run.recipe.seconds for run in runs if run.steps is None) / 3600
    sampling_h = sum(cell.work for cell in todo) / rate / 3600
    weights = sum(STATE_BYTES * parameters(run.config) for run in runs)
    disk = latents_bytes(suite) + weights + REFERENCE_BYTES
    return [
        f"GPU-hours: {training_h:,.0f} of training, {suite.gpus} at once; about {sampling_h:,.0f} of sampling, one "
        "GPU a cell (decoding and Inception come on top)",
        *_memory(suite),
        f"disk: {disk / GB:,.0f} GB: latents {latents_bytes(suite) / GB:,.1f}, checkpoints of {len(runs)} runs "
        f"{weights / GB:,.1f} (while one is written, its last one stays), reference {REFERENCE_BYTES / GB:,.1f}",
    ]


def _memory(suite: Suite) -> list[str]:
    from bench.metrics.memory import sampling_memory, training_memory
    from models.unroll import Unroll

    recipe, share = suite.training, suite.training.batch_size // suite.gpus
    lines = []
    for model in ("dit", "fpdm"):
        config, unroll = suite.model(model), Unroll(recipe.n_max, recipe.m_max)
        peaks = [
            f"{training_memory(config, size, unroll, 'fp16', checkpointing).peak_bytes / GIB:.1f} GiB {how}"
            for size, checkpointing, how in (
                (share, False, f"for its {share} images at once"),
                (share // 2, False, f"in micro-batches of {share // 2}"),
                (share, True, "with --grad-checkpointing"),
            )
        ]
        batch, precision = suite.evaluation.batch_size, suite.evaluation.precision
        sampling = sampling_memory(config, batch, recipe.n_max, precision).peak_bytes / GIB
        lines.append(
            f"memory of a GPU, computed: {model} trains (fp16) in {', '.join(peaks)}; samples {batch} images in "
            f"{sampling:.1f} GiB"
        )
    return lines
