"""Where the things lie that a latent suite needs and that are not in the repository. No torch."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Assets:
    """Files and folders of the user's.

    Attributes:
        prepared: folder of what was made from datasets, `<prepared>/<suite>/`: latents, reference statistics.
        vae: autoencoder of the latents, an id or a folder; None for the usual one.
        inception_weights: file with the weights of torch-fidelity's Inception; None to have it downloaded.
    """

    prepared: Path = Path("prepared")
    vae: str | None = None
    inception_weights: Path | None = None
