import torch

from models.autoencoder import PixelAutoencoder


def test_pixels_survive_the_round_trip():
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    codec = PixelAutoencoder()
    assert torch.equal(codec.decode(codec.encode(images)), images)
    assert codec.encode(images).min() == -1
    assert codec.encode(images).max() == 1
