from itertools import pairwise

import pytest

from models.diffusion.timesteps import select_timesteps


@pytest.mark.parametrize("spacing", ["linspace", "trailing"])
def test_every_step_count_gives_distinct_descending_timesteps(spacing):
    for steps in range(1, 1001):
        chosen = select_timesteps(steps, spacing)
        assert len(chosen) == steps
        assert chosen[0] == 999
        assert all(a > b >= 0 for a, b in pairwise(chosen))
        if spacing == "linspace" and steps > 1:
            assert chosen[-1] == 0
    for steps in (0, 1001):
        with pytest.raises(ValueError, match=f"1 to 1000, got {steps}"):
            select_timesteps(steps, spacing)
