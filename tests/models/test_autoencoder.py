import torch
from made_images import make_vae
from pretend_gpu import CUDA

from models.autoencoder import LatentAutoencoder, PixelAutoencoder


def test_pixels_survive_the_round_trip():
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    codec = PixelAutoencoder()
    assert torch.equal(codec.decode(codec.encode(images)), images)
    assert codec.encode(images).min() == -1
    assert codec.encode(images).max() == 1


def test_latents_are_made_and_decoded_on_a_gpu_that_is_not_there(tmp_path, gpu):
    vae = LatentAutoencoder.load(str(make_vae(tmp_path)), CUDA)
    moments = vae.moments(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert (moments.shape, moments.dtype, moments.device) == ((2, 8, 4, 4), torch.float32, CUDA)
    for place in (CUDA, "cpu"):
        images = vae.decode(torch.zeros(3, 4, 4, 4, device=place), batch_size=2)
        assert (images.shape, images.dtype, images.device) == ((3, 3, 32, 32), torch.uint8, CUDA)
    assert gpu.seen["convolution"] == {torch.float32}
    assert len(vae.digest) == 16  # on the CPU
