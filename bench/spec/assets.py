"""Where the things lie that suites need and the repository does not hold."""

from dataclasses import dataclass
from pathlib import Path

VAE = "stabilityai/sd-vae-ft-ema"  # whose latents DiT is trained on


@dataclass(frozen=True)
class Assets:
    """Folders and files: those of `fashion`'s dataset, and what latent suites need.

    Attributes:
        prepared: what `bench/encode_latents.py` and `bench/reference.py` wrote, a folder for each suite.
        vae: hub id or folder of the autoencoder; None for the one that the latents were encoded with.
        inception_weights: file with the weights of the Inception features; None for torch-fidelity's download.
        data: folder with the files of Fashion-MNIST; None for where they usually are (`bench.data.fashion.USUAL`).
    """

    prepared: Path = Path("prepared")
    vae: str | None = None
    inception_weights: Path | None = None
    data: Path | None = None

    def latents(self, suite: str) -> Path:
        """The folder of a suite's latents."""
        return self.prepared / suite / "latents"
