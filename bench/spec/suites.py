"""Suites: what is compared on what. Plain data, importable without torch, datasets or weights."""

from dataclasses import dataclass, replace
from typing import Any

from bench.system.errors import BadInputError
from models.zoo import SIZES, ModelConfig, model_config


@dataclass(frozen=True)
class TrainingRecipe:
    """How the twins are trained. Both get the same recipe and the same seconds.

    Attributes:
        seconds: training clock of each twin, in seconds.
        batch_size: global batch, images.
        learning_rate, weight_decay, betas: AdamW's; the learning rate is constant.
        clip_norm: gradient norm limit.
        ema_decay: the limit of the EMA's decay, which warms up as (1 + step) / (10 + step).
        class_dropout: probability of replacing a label with the null label.
        unroll: how the fixed-point twin is trained: "stochastic" (JFB, the paper's Algorithm 1), "multi-step" or "jfb".
        n_max, m_max: N and M of that: iterations without and with gradient, at most or, but for stochastic, exactly.
        slice_s: seconds that a twin trains before the other's turn on one local machine.
    """

    seconds: float
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = 1.0
    ema_decay: float = 0.9999
    class_dropout: float = 0.1
    unroll: str = "stochastic"
    n_max: int = 12
    m_max: int = 12
    slice_s: float = 60.0


@dataclass(frozen=True)
class EvaluationRecipe:
    """How quality is measured; part of every cell's protocol.

    Attributes:
        samples: generated images per cell and seed.
        seeds: the replicates. Replicate r has sampling seed r and, where the suite's own twins are evaluated, their
            training seed r, so that the spread over replicates is of training and sampling together.
        batch_size: images sampled at once.
        extractor: name of the feature extractor; numbers of different extractors are never compared.
        kid_subsets, kid_subset_size: of the kernel distance (Binkowski et al. 2018).
        precision: "fp32", "fp16" or "bf16" arithmetic of sampling.
    """

    samples: int
    batch_size: int
    extractor: str
    seeds: tuple[int, ...] = (0, 1, 2)
    kid_subsets: int = 100
    kid_subset_size: int = 1000
    precision: str = "fp32"


@dataclass(frozen=True)
class Suite:
    """A dataset with its twins, training and evaluation.

    Attributes:
        gpus: that share a training batch, one rank each; the training clock is meant for as many.
        ablation_seconds: training clock of ablations, None for that of the twins.
        alternate: whether runs on one machine are trained in turns, all of them in memory at once.
    """

    name: str
    dataset: str
    dit: ModelConfig
    fpdm: ModelConfig
    training: TrainingRecipe
    evaluation: EvaluationRecipe
    gpus: int = 1
    ablation_seconds: float | None = None
    alternate: bool = True

    def model(self, name: str) -> ModelConfig:
        """The configuration of "dit" or "fpdm"."""
        return {"dit": self.dit, "fpdm": self.fpdm}[name]


MODELS = ("dit", "fpdm")


def _digits() -> Suite:
    size = {"input_size": 8, "in_channels": 1, "hidden_size": 64, "depth": 28, "num_heads": 4, "num_classes": 10}
    return Suite(
        name="digits",
        dataset="digits",
        dit=model_config("dit_s_2", **size),
        fpdm=model_config("fpdm_s_2", **size),
        training=TrainingRecipe(
            seconds=100, batch_size=128, learning_rate=1e-3, ema_decay=0.999, n_max=6, m_max=6, slice_s=5
        ),
        evaluation=EvaluationRecipe(
            samples=750, batch_size=125, extractor="digits-cnn", kid_subsets=50, kid_subset_size=500
        ),
    )


def _fashion(name: str, patch_size: int, hidden_size: int, num_heads: int, **recipes: Any) -> Suite:
    """Fashion-MNIST in pixels, 32x32 with its border."""
    size = {"input_size": 32, "in_channels": 1, "hidden_size": hidden_size, "depth": 28, "num_heads": num_heads}
    return Suite(
        name=name,
        dataset="fashion",
        dit=model_config(f"dit_s_{patch_size}", num_classes=10, **size),
        fpdm=model_config(f"fpdm_s_{patch_size}", num_classes=10, **size),
        **recipes,
    )


def _fashion_suites() -> tuple[Suite, ...]:
    """For one GPU, and smaller for the cores of a laptop; not to be compared with each other."""
    gpu = _fashion(
        "fashion",
        2,
        256,
        4,
        training=TrainingRecipe(
            seconds=600, batch_size=128, learning_rate=5e-4, ema_decay=0.9999, n_max=6, m_max=6, slice_s=30
        ),
        evaluation=EvaluationRecipe(samples=10_000, batch_size=500, extractor="fashion-cnn", precision="bf16"),
    )
    cpu = _fashion(
        "fashion-cpu",
        4,
        96,
        3,
        training=TrainingRecipe(
            seconds=2700, batch_size=64, learning_rate=1e-3, ema_decay=0.9999, n_max=6, m_max=6, slice_s=30
        ),
        evaluation=EvaluationRecipe(samples=2000, batch_size=100, extractor="fashion-cnn", seeds=(0,)),
    )
    return gpu, cpu


DAY = 86400.0  # seconds


def _latent(name: str, num_classes: int, days: float) -> Suite:
    """A suite of the paper (Sec. 4.1): XL/2 at 256 pixels, in latents of 32x32x4, on eight V100s; FID-50K."""
    return Suite(
        name=name,
        dataset=name,
        dit=model_config("dit_xl_2", num_classes=num_classes),
        fpdm=model_config("fpdm_xl_2", num_classes=num_classes),
        training=TrainingRecipe(
            seconds=days * DAY,
            batch_size=512,
            learning_rate=1e-4,
            class_dropout=0.1 if num_classes else 0.0,
            slice_s=1800,
        ),
        evaluation=EvaluationRecipe(
            samples=50_000, batch_size=100, extractor="inception-v3-compat", seeds=(0,), precision="fp16"
        ),
        gpus=8,
        ablation_seconds=DAY,
        alternate=False,
    )


def _latent_suites() -> tuple[Suite, ...]:
    unconditional = (_latent(name, 0, 1) for name in ("celebahq", "ffhq", "church"))
    return _latent("imagenet", 1000, 4), *unconditional


SUITES = {suite.name: suite for suite in (_digits(), *_fashion_suites(), *_latent_suites())}


def get_suite(name: str, size: str | None = None, batch_size: int | None = None) -> Suite:
    """The suite called `name`, with twins of another size ("S/2") or another training batch if these are given.

    Raises:
        BadInputError: unknown suite or size, or no batch.
    """
    if name not in SUITES:
        raise BadInputError(f"unknown suite {name!r}: choose one of {', '.join(SUITES)}")
    suite = SUITES[name]
    if size is not None:
        suite = replace(suite, dit=_resized(suite.dit, "dit", size), fpdm=_resized(suite.fpdm, "fpdm", size))
    if batch_size is not None:
        if batch_size < 1:
            raise BadInputError(f"--batch-size {batch_size}: must be 1 or more")
        suite = replace(suite, training=replace(suite.training, batch_size=batch_size))
    return suite


def _resized(config: ModelConfig, model: str, size: str) -> ModelConfig:
    name, _, patch = size.lower().partition("/")
    try:
        return model_config(
            f"{model}_{name}_{patch}",
            input_size=config.input_size,
            in_channels=config.in_channels,
            num_classes=config.num_classes,
        )
    except ValueError as error:
        sizes = ", ".join(key.upper() for key in SIZES)
        raise BadInputError(
            f"--size {size}: write one of {sizes}, a slash and a patch size that divides {config.input_size}, as in S/2"
        ) from error
