"""What a forward pass costs, by formula: multiply-accumulates (MACs) of one image. Plain integers, no torch.

Counted is what a FLOP counter counts: matrix products, convolutions and attention. Equal to `FlopCounterMode` / 2 on
the networks themselves (tested). The paper counts block passes only and calls the injection negligible (footnote 3).
"""

from models.zoo import ModelConfig

TIMESTEP_FREQUENCIES = 256
MLP_RATIO = 4


def modulation_macs(config: ModelConfig, vectors: int = 6) -> int:
    """The linear map from the condition to `vectors` modulation vectors."""
    return vectors * config.hidden_size**2


def block_macs(config: ModelConfig) -> int:
    """One block pass without its modulation: projections, attention, MLP."""
    d, n = config.hidden_size, config.tokens
    return n * (4 + 2 * MLP_RATIO) * d**2 + 2 * n**2 * d


def injection_macs(config: ModelConfig) -> int:
    """What one iteration adds to its block pass: z's half of the first projection, and the second projection."""
    return config.tokens * (2 + 2) * config.hidden_size**2


def step_injection_macs(config: ModelConfig) -> int:
    """What the implicit layer pays once per step: x~ and its half of the first projection."""
    return config.tokens * (1 + 2) * config.hidden_size**2


def shell_macs(config: ModelConfig) -> int:
    """Everything around the blocks: patch and timestep embedding, final layer."""
    d, n, patch = config.hidden_size, config.tokens, config.patch_size**2
    timestep = TIMESTEP_FREQUENCIES * d + d**2
    return (
        n * patch * config.in_channels * d + timestep + modulation_macs(config, 2) + n * d * patch * config.out_channels
    )


def forward_passes(config: ModelConfig, iterations: int = 0) -> int:
    """Block passes of one prediction, the paper's unit (Sec. 4.2): injections are free. A DiT has no iterations."""
    if config.n_pre is None or config.n_post is None:
        return config.depth
    return config.n_pre + iterations + config.n_post


def forward_macs(config: ModelConfig, iterations: int = 0) -> int:
    """One prediction for one image: all blocks of a DiT, or an FPDM's with `iterations` of its implicit layer."""
    explicit = block_macs(config) + modulation_macs(config)
    if config.n_pre is None or config.n_post is None:
        return shell_macs(config) + config.depth * explicit
    implicit = modulation_macs(config) + step_injection_macs(config)
    implicit += iterations * (block_macs(config) + injection_macs(config))
    return shell_macs(config) + (config.n_pre + config.n_post) * explicit + implicit


def parameters(config: ModelConfig) -> int:
    """Trainable parameters, biases and the label table's null row included; position embeddings are fixed."""

    def linear(inputs: int, outputs: int) -> int:
        return (inputs + 1) * outputs

    d, patch = config.hidden_size, config.patch_size**2
    attention, mlp = linear(d, 3 * d) + linear(d, d), linear(d, MLP_RATIO * d) + linear(MLP_RATIO * d, d)
    block = attention + mlp + linear(d, 6 * d)
    embedders = linear(patch * config.in_channels, d) + linear(TIMESTEP_FREQUENCIES, d) + linear(d, d)
    final = linear(d, 2 * d) + linear(d, patch * config.out_channels)
    shell = embedders + (config.num_classes + 1) * d + final
    if config.n_pre is None or config.n_post is None:
        return shell + config.depth * block
    injection = linear(d, d) + linear(2 * d, 2 * d) + linear(2 * d, d)
    return shell + (config.n_pre + 1 + config.n_post) * block + injection
