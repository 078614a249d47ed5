import pytest
import torch

from models.zoo import create_model, model_config


@pytest.mark.parametrize(("name", "millions"), [("dit_xl_2", 674.8), ("fpdm_xl_2", 86.5)])
def test_parameter_counts_of_the_paper(name, millions):
    with torch.device("meta"):
        model = create_model(name)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == millions
    block = model.blocks[0] if name.startswith("dit") else model.implicit.blocks[0]
    assert round(sum(p.numel() for p in block.parameters()) / 1e6, 1) == 23.9


def test_unknown_names_and_options_are_named():
    with pytest.raises(ValueError, match="unknown model 'dit_xxl_2'"):
        create_model("dit_xxl_2")
    with pytest.raises(ValueError, match="dit_s_2 has no option n_pre"):
        create_model("dit_s_2", n_pre=1)
    with pytest.raises(ValueError, match="patch_size 3 does not divide"):
        model_config("fpdm_s_3")
