"""Registry of suites: a new suite is one call of `register`, a new contender one entry in a suite."""

from dataclasses import replace
from typing import Any

from bench.spec.contenders import Contender, EvaluationRecipe, Suite, TrainingRecipe
from bench.spec.controls import controls
from bench.spec.datasets import OWN, OwnImages
from bench.spec.extractors import DINOV2
from bench.system.errors import BadInputError
from models.config import ModelConfig
from models.families import family_of
from models.zoo import SIZES, model_config

SUITES: dict[str, Suite] = {}


def register(suite: Suite) -> Suite:
    """Add a suite. ValueError if its name is taken."""
    if suite.name in SUITES:
        raise ValueError(f"suite {suite.name!r} is registered already")
    SUITES[suite.name] = suite
    return suite


DAY = 86400.0  # seconds
# Okabe & Ito's palette, which colour-blind readers can tell apart
DIT: dict[str, Any] = {"name": "dit", "label": "DiT", "color": "#D55E00", "marker": "o"}
FPDM: dict[str, Any] = {"name": "fpdm", "label": "FPDM", "color": "#0072B2", "marker": "s"}


def twins(patch: str, recipe: TrainingRecipe, **config: Any) -> tuple[Contender, ...]:
    """DiT and FPDM of one size ("s_2": size and patch, see `model_config`) under one recipe."""
    return tuple(
        Contender(config=model_config(f"{look['name']}_{patch}", **config), recipe=recipe, **look)
        for look in (DIT, FPDM)
    )


def compared(patch: str, recipe: TrainingRecipe, **config: Any) -> tuple[Contender, ...]:
    """The contenders of a suite: `twins`, and the controls of a comparison of them."""
    dit, fpdm = twins(patch, recipe, **config)
    return dit, fpdm, *controls(dit, fpdm)


register(
    Suite(
        name="digits",
        dataset="digits",
        contenders=compared(
            "s_2",
            TrainingRecipe(
                seconds=100, batch_size=128, learning_rate=2e-3, ema_decay=0.999, n_max=6, m_max=6, slice_s=5
            ),
            input_size=8,
            in_channels=1,
            hidden_size=64,
            depth=28,
            num_heads=4,
            num_classes=10,
        ),
        evaluation=EvaluationRecipe(
            samples=750, batch_size=125, extractor="digits-cnn", kid_subsets=50, kid_subset_size=500
        ),
    )
)

# Fashion-MNIST in pixels, 32x32 with its border
_CLOTHES: dict[str, Any] = {"input_size": 32, "in_channels": 1, "depth": 28, "num_classes": 10}

register(  # for one GPU
    Suite(
        name="fashion",
        dataset="fashion",
        contenders=compared(
            "s_2",
            TrainingRecipe(
                seconds=600, batch_size=128, learning_rate=5e-4, ema_decay=0.9999, n_max=6, m_max=6, slice_s=30
            ),
            hidden_size=256,
            num_heads=4,
            **_CLOTHES,
        ),
        evaluation=EvaluationRecipe(samples=10_000, batch_size=500, extractor="fashion-cnn", dtype="bf16"),
    )
)

register(  # for the cores of a laptop; its numbers do not compare with those above
    Suite(
        name="fashion-cpu",
        dataset="fashion",
        contenders=compared(
            "s_4",
            TrainingRecipe(
                seconds=2700, batch_size=64, learning_rate=1e-3, ema_decay=0.9999, n_max=6, m_max=6, slice_s=30
            ),
            hidden_size=96,
            num_heads=3,
            **_CLOTHES,
        ),
        evaluation=EvaluationRecipe(samples=2000, batch_size=100, extractor="fashion-cnn", seeds=(0,)),
    )
)

# The paper's suites (Sec. 4.1): XL/2 at 256 pixels, in latents of 32x32x4, on eight V100s; FID-50K
for _name, _classes, _days in (("imagenet", 1000, 4), ("celebahq", 0, 1), ("ffhq", 0, 1), ("church", 0, 1)):
    register(
        Suite(
            name=_name,
            dataset=_name,
            contenders=compared(
                "xl_2",
                TrainingRecipe(
                    seconds=_days * DAY,
                    batch_size=512,
                    learning_rate=1e-4,
                    class_dropout=0.1 if _classes else 0.0,
                    slice_s=1800,
                ),
                num_classes=_classes,
            ),
            evaluation=EvaluationRecipe(
                samples=50_000,
                batch_size=100,
                extractor="inception-v3-compat",
                seeds=(0,),
                dtype="fp16",
                second_extractor=DINOV2,
            ),
            gpus=8,
            ablation_seconds=DAY,
            alternate=False,
        )
    )


def own_suite(own: OwnImages) -> Suite:
    """The twins and controls on a user's own images in pixels: 64 patches an image for a CPU, 256 for a GPU."""
    for_gpu = own.twins == "gpu"
    recipe = TrainingRecipe(
        seconds=600 if for_gpu else 300,
        batch_size=128 if for_gpu else 64,
        learning_rate=5e-4 if for_gpu else 1e-3,
        ema_decay=0.9999 if for_gpu else 0.999,
        class_dropout=0.1 if own.classes else 0.0,
        n_max=6,
        m_max=6,
        slice_s=30 if for_gpu else 5,
    )
    size = {"hidden_size": 256 if for_gpu else 64, "depth": 28, "num_heads": 4, "num_classes": len(own.classes)}
    evaluation = EvaluationRecipe(samples=500, batch_size=100, extractor=own.extractor, kid_subset_size=250)
    if for_gpu:
        evaluation = EvaluationRecipe(samples=5000, batch_size=500, extractor=own.extractor, dtype="bf16")
    return Suite(
        name=OWN,
        dataset=own.dataset,
        contenders=compared(
            f"s_{max(2, own.image_size // (16 if for_gpu else 8))}",
            recipe,
            input_size=own.image_size,
            in_channels=own.channels,
            **size,
        ),
        evaluation=replace(evaluation, extractor_digest=own.extractor_digest),
        own=own,
    )


def get_suite(
    name: str,
    size: str | None = None,
    batch_size: int | None = None,
    classes: int | None = None,
    own: OwnImages | None = None,
) -> Suite:
    """The suite called `name`; with contenders of another size ("S/2"), training batch or number of classes if given.

    `own`: the images of the suite `folder`, which has none by itself.

    Raises:
        BadInputError: unknown suite or size, or a batch or number of classes of less than 1.
    """
    if name == OWN and own is None:
        raise BadInputError(f"--suite {OWN}: the results have no images of yours yet; give --data DIR")
    if name not in SUITES and own is None:
        raise BadInputError(f"unknown suite {name!r}: choose one of {', '.join((*SUITES, OWN))}")
    suite = own_suite(own) if own else SUITES[name]
    if size is not None:
        suite = suite.sized(lambda config: _resized(config, size))
    if batch_size is not None:
        if batch_size < 1:
            raise BadInputError(f"--batch-size {batch_size}: must be 1 or more")
        suite = suite.changed(recipe={"batch_size": batch_size})
    if classes is not None:
        if classes < 1:
            raise BadInputError(f"--classes {classes}: must be 1 or more")
        suite = suite.changed(config={"num_classes": classes})
    return suite


def _resized(config: ModelConfig, size: str) -> ModelConfig:
    name, _, patch = size.lower().partition("/")
    try:
        return model_config(
            f"{config.family}_{name}_{patch}",
            input_size=config.input_size,
            in_channels=config.in_channels,
            num_classes=config.num_classes,
            **{option: getattr(config, option) for option in family_of(config).options},
        )
    except ValueError as error:
        sizes = ", ".join(key.upper() for key in SIZES)
        raise BadInputError(
            f"--size {size}: write one of {sizes}, a slash and a patch size that divides {config.input_size}, as in S/2"
        ) from error
