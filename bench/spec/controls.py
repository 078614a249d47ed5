"""Controls: contenders that could explain a lead of FPDM over DiT without a fixed point.

Their colors are shades of four hues: shallow DiTs green, loops purple, cached DiT orange, variants of FPDM blue.
"""

from dataclasses import replace

from bench.spec.contenders import Contender

SHALLOW = {  # depth -> color, marker, grids; 3 blocks are as many as FPDM has
    3: ("#004D40", "^", ("controls", "training-time")),
    5: ("#00795F", "p", ()),
    7: ("#009E73", ">", ("controls", "training-time")),
    14: ("#66C5AB", "h", ("controls",)),
}
CACHED_EDGES = (1, 4)  # j: blocks at either end that run at every step
REUSE_MIXES = (0.25, 0.5, 0.75)  # g; 0 is FPDM without reuse, 1 FPDM with reuse
MIXED_ITERATIONS = (1, 2, 5)  # few, where reuse matters


def controls(dit: Contender, fpdm: Contender) -> tuple[Contender, ...]:
    """The controls of a comparison of DiT and FPDM."""
    looped = replace(fpdm.config, family="looped")
    cached = replace(dit.config, family="dit_cached", n_pre=1, n_post=1)
    cached_edges = tuple(replace(cached, n_pre=j, n_post=j) for j in CACHED_EDGES)
    mixes = tuple(replace(fpdm.config, reuse_mix=share) for share in REUSE_MIXES)
    here, few = ("controls",), (1, 2)  # reuse matters at few iterations
    return (
        *(
            Contender(f"dit-{depth}", replace(dit.config, depth=depth), dit.recipe, f"DiT-{depth}", *look)
            for depth, look in SHALLOW.items()
        ),
        Contender("looped", looped, fpdm.recipe, "Looped", "#CC79A7", "v", (*here, "learning-rates")),
        Contender("looped-2", replace(looped, loop_blocks=2), fpdm.recipe, "Looped, 2 blocks", "#8C4A6F", "<", ()),
        Contender("fpdm-2", replace(fpdm.config, loop_blocks=2), fpdm.recipe, "FPDM, 2 blocks", "#003A5D", "P", ()),
        Contender("dit-cached", cached, dit.recipe, "DiT, cached", "#E69F00", "X", here, dit.name, cached_edges),
        Contender("fpdm-tied", fpdm.config, fpdm.recipe, "FPDM, mixed", "#56B4E9", "d", here, fpdm.name, mixes, few),
    )
