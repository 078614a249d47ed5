"""As `checkout_like`, with the parameter names and arguments of the released FPDM."""

import random

import torch
from checkout_like import Block
from checkout_like import DiT as Plain
from jaxtyping import Float, Shaped
from torch import Tensor, nn

Tokens, Condition = Float[Tensor, "b t d"], Shaped[Tensor, "b d"]


class DiT(Plain):
    def __init__(
        self,
        depth,
        fixed_point=False,
        use_gradient_checkpointing=True,
        fixed_point_pre_post_timestep_conditioning=True,
        **shape,
    ):
        assert (fixed_point, use_gradient_checkpointing, fixed_point_pre_post_timestep_conditioning) == (1, 0, 0)
        super().__init__(depth=0, **shape)
        del self.blocks
        width, heads = shape["hidden_size"], shape["num_heads"]
        position = self.pos_embed.detach()
        del self.pos_embed
        self.register_buffer("pos_embed", position)
        self.blocks_pre, self.blocks_post = (nn.ModuleList([Block(width, heads)]) for _ in range(2))
        self.block_pre_projection = nn.Linear(width, width)
        self.block_fixed_point_projection_fc1 = nn.Linear(2 * width, 2 * width)
        self.block_fixed_point_projection_fc2 = nn.Linear(2 * width, width)
        self.block_fixed_point = Block(width, heads)
        for kind in ("no", "with"):
            for end in ("min", "max"):
                setattr(self, f"fixed_point_{kind}_grad_{end}_iters", -1)  # the test is to set them

    def iterate(self, z: Tokens, injected: Tokens, c: Condition, kind: str) -> Tokens:
        ends = (getattr(self, f"fixed_point_{kind}_grad_{end}_iters") for end in ("min", "max"))
        for _ in range(random.randint(*ends)):
            hidden = self.block_fixed_point_projection_fc1(torch.cat([z, injected], dim=-1))
            z = self.block_fixed_point(self.block_fixed_point_projection_fc2(gelu(hidden)), c)
        return z

    def forward(self, x, t, y):
        label = self.y_embedder(y)
        c = label + self.t_embedder(t)
        x = self.blocks_pre[0](self.x_embedder(x) + self.pos_embed, label)
        injected = self.block_pre_projection(x)
        with torch.no_grad():
            z = self.iterate(x, injected, c, "no")
        return self.image(self.blocks_post[0](self.iterate(z, injected, c, "with"), label), label)


gelu = nn.GELU(approximate="tanh")
