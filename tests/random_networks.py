"""Small networks whose zero-initialised parts are random, so that every path matters."""

import torch

from models.zoo import create_model

SMALL = {"input_size": 8, "in_channels": 1, "hidden_size": 32, "depth": 4, "num_heads": 2, "num_classes": 10}


def random_network(kind, **overrides):
    """The network `<kind>_s_2` at the size SMALL, in training mode, always with the same weights."""
    torch.manual_seed(0)
    model = create_model(f"{kind}_s_2", **SMALL | overrides)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model
