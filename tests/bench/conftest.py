"""A suite whose images are not in the repository: a cell of it, and the statistics that it names."""

from dataclasses import replace

import pytest
import torch
from made_images import pictures
from torch import nn

from bench.quality.extractor import Extractor
from bench.quality.reference_statistics import ReferenceStatistics, save_statistics, statistics_path
from bench.spec.datasets import DATASETS, Dataset
from bench.spec.extractors import INCEPTION
from bench.spec.grids.catalogue import get_cells
from bench.spec.reference import Reference
from bench.spec.selection import Selection


class Toy(nn.Module):
    """Features of small pictures: means of the quarters, and their squares."""

    def forward(self, images):
        means = nn.functional.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1)
        return (torch.cat([means, means**2], dim=1),)


@pytest.fixture
def toy(cpu):
    return Extractor(Toy(), INCEPTION, "0123456789abcdef", 24, cpu)


@pytest.fixture
def latent_cell(tiny_suite, toy, tmp_path, monkeypatch):
    """A cell of a suite of pictures, and the statistics that it names."""
    monkeypatch.setitem(DATASETS, "pictures", Dataset("pictures", "Pictures", "latents", 30, "nowhere:open"))
    suite = replace(tiny_suite, name="pictures", dataset="pictures")
    cell = next(
        c for c in get_cells("smoothing", tiny_suite, Selection(budgets=(28,), train_steps=3)) if c.measure == "quality"
    )
    reference = Reference("pictures", 30, 24, "f" * 64, INCEPTION, toy.digest)
    protocol = replace(
        cell.protocol, extractor=INCEPTION, extractor_digest=toy.digest, reference_digest=reference.identity
    )
    path = statistics_path(tmp_path / suite.name, reference.identity)
    save_statistics(path, ReferenceStatistics.from_images(pictures(30), toy), reference, "")
    return replace(cell, run=replace(cell.run, suite=suite.name, dataset=suite.dataset), protocol=protocol)
