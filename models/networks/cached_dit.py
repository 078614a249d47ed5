"""DiT with cached blocks: a trained DiT that runs its middle blocks at some steps only, without further training.

    x = first blocks(x_t)
    full step:    r = middle blocks(x) - x,  x <- x + r,  and r is kept
    cached step:  x <- x + r,  with the r of the last full step
    output = last blocks(x)

The middle blocks' residual changes little between neighboring timesteps (DeepCache, Ma et al. 2024, does so in U-Nets;
Delta-DiT, Chen et al. 2024, in DiTs). A cached step costs the first and last blocks only, so a budget of block passes
buys more steps. It is the control that makes DiT cheaper without a fixed point.
"""

from typing import Any

from torch import Tensor

from models.diffusion.denoiser import Prediction
from models.fixed_point.solvers import FixedCount
from models.networks.dit import DiT


class CachedDiT(DiT):
    """A DiT, with the weights of one, that can leave out its middle blocks.

    Args:
        n_pre, n_post: the first and last blocks, which run at every step; together at most `depth`.
        shape: as for `DiT`.
    """

    def __init__(self, n_pre: int = 1, n_post: int = 1, **shape: Any) -> None:
        super().__init__(**shape)
        if not 0 <= n_pre + n_post <= len(self.blocks):
            raise ValueError(f"n_pre {n_pre} and n_post {n_post}: a DiT of {len(self.blocks)} blocks has no such parts")
        self._first, self._last = slice(n_pre), slice(len(self.blocks) - n_post, None)
        self._middle = slice(n_pre, len(self.blocks) - n_post)
        self._outer = n_pre + n_post

    def predict(self, x: Tensor, t: Tensor, y: Tensor, iterations: object = None, state: Any = None) -> Prediction:
        """As `Denoiser.predict`; the state is the residual r of the middle blocks, (batch, tokens, hidden).

        Args:
            x, t, y: as for `DiT`.
            iterations: how many blocks run: all of them, or the first and last, which takes a state.
            state: the r of the last full step.

        Raises:
            ValueError: another number of blocks, or a cached step without a state.
        """
        count = iterations.iterations if isinstance(iterations, FixedCount) else iterations
        if count not in (len(self.blocks), self._outer):
            raise ValueError(f"a cached DiT runs {len(self.blocks)} or {self._outer} blocks, not {count}")
        condition = self.t_embedder(t) + self.y_embedder(y)
        tokens = self.blocks(self.to_tokens(x), condition, self._first)
        if count == len(self.blocks):
            middle = self.blocks(tokens, condition, self._middle)
            tokens, state = middle, middle - tokens
        elif state is None:
            raise ValueError("a cached step needs the residual of a full step before it: start with a full step")
        else:
            tokens = tokens + state
        return Prediction(self.to_image(self.blocks(tokens, condition, self._last), condition), state)
