"""Multiply-accumulates (MACs) and parameters of a network's parts, by formula, for one image. Plain integers, no torch.

A FLOP counter counts the same: matrix products, convolutions and attention. The sums in `models.families` equal
`FlopCounterMode` / 2 on the networks themselves (tested). The paper counts block passes only and calls the injection
negligible (footnote 3).
"""

from models.config import ModelConfig

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
    """What the implicit layer computes once a step: x~ and its half of the first projection."""
    return config.tokens * (1 + 2) * config.hidden_size**2


def shell_macs(config: ModelConfig) -> int:
    """Everything around the blocks: patch and timestep embedding, final layer."""
    d, n, patch = config.hidden_size, config.tokens, config.patch_size**2
    timestep = TIMESTEP_FREQUENCIES * d + d**2
    final = modulation_macs(config, 2) + n * d * patch * config.out_channels
    return n * patch * config.in_channels * d + timestep + final


def linear_parameters(inputs: int, outputs: int) -> int:
    """Weights and biases of a linear map."""
    return (inputs + 1) * outputs


def block_parameters(config: ModelConfig) -> int:
    """One block with its modulation."""
    d = config.hidden_size
    attention = linear_parameters(d, 3 * d) + linear_parameters(d, d)
    mlp = linear_parameters(d, MLP_RATIO * d) + linear_parameters(MLP_RATIO * d, d)
    return attention + mlp + linear_parameters(d, 6 * d)


def injection_parameters(config: ModelConfig) -> int:
    """The three linear maps of an injection."""
    d = config.hidden_size
    return linear_parameters(d, d) + linear_parameters(2 * d, 2 * d) + linear_parameters(2 * d, d)


def shell_parameters(config: ModelConfig) -> int:
    """Embedders, the label table's null row included, and final layer; position embeddings are fixed."""
    d, patch = config.hidden_size, config.patch_size**2
    timestep = linear_parameters(TIMESTEP_FREQUENCIES, d) + linear_parameters(d, d)
    final = linear_parameters(d, 2 * d) + linear_parameters(d, patch * config.out_channels)
    return linear_parameters(patch * config.in_channels, d) + timestep + (config.num_classes + 1) * d + final
