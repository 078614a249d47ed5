"""Registry of datasets: their identity and how they are opened."""

# SHA-256 of images and labels as networks see them (see `ImageData.digest`), part of every cell's identity.
DIGESTS = {
    "digits": "0b7e9c3202d7bcd255d6a19a238d3743bf5e320ba74812a6679958a017c55382",
    "fashion": "57a2b6bf4b8765263f60b3ec4eba35d846bfc658105661ce0e4bb3d5c7d190e5",
}

# The same of images that nothing is trained on, where a dataset has a test split, and how many there are.
HELD_OUT = {"fashion": ("f24cf301b160abd47850a2434112a8d30edf9ad82607c27a849f98e1ea756a55", 10_000)}


def is_latent(dataset: str) -> bool:
    """Whether networks see latents of the dataset's images: of all whose pixels are not known, by DIGESTS."""
    return dataset not in DIGESTS
