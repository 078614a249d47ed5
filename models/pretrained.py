"""Networks with their weights, as a folder or a repository of the Hugging Face hub.

    config.json          the network's arguments, its family, and its diffusion process
    model.safetensors    weights

`from_pretrained` of the network's class reads it too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.config import COMMON, ModelConfig
from models.families import FAMILIES, build, family_of
from models.process import PROCESS, Process

if TYPE_CHECKING:
    from models.networks.network import Network

CONFIG, WEIGHTS = "config.json", "model.safetensors"
PIXELS = "pixels"  # in place of an autoencoder


@dataclass(frozen=True)
class Description:
    """What config.json says.

    Attributes:
        config: of the network.
        process: of its training.
        autoencoder: PIXELS, or the hub id or folder of the autoencoder whose latents it was trained on.
        training: where the weights are from, for people.
    """

    config: ModelConfig
    process: Process = PROCESS
    autoencoder: str = PIXELS
    training: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As config.json; the network's arguments are at its top, where the hub's mixin looks for them."""
        names = (*COMMON, *family_of(self.config).options)
        return {
            "family": self.config.family,
            **{name: getattr(self.config, name) for name in names},
            "process": asdict(self.process),
            "autoencoder": self.autoencoder,
            "training": dict(self.training),
        }

    @classmethod
    def from_json(cls, found: Any) -> Description:
        """From config.json. ValueError if it does not describe a network of a known family."""
        try:
            family = FAMILIES[found["family"]]
            arguments = {name: found[name] for name in (*COMMON, *family.options) if name in found}
            process = {one.name: found["process"][one.name] for one in fields(Process)}
            return cls(
                ModelConfig(family.name, **{**family.options, **arguments}),
                Process(**process),
                str(found["autoencoder"]),
                dict(found["training"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"{CONFIG} does not describe a network ({type(error).__name__}: {error})") from error


def find(where: str | Path) -> Path:
    """The folder itself, or that of a hub id, downloaded if it is not in the hub's cache. OSError if neither is there.

    Files in the hub's cache are used without contacting the hub.
    """
    folder = Path(where)
    if not folder.is_dir():
        from models.hub import download

        folder = download(str(where), (CONFIG, WEIGHTS))
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise OSError(f"{where} has no {name}")
    return folder


def read(where: str | Path) -> tuple[Description, Path]:
    """Description and file of weights of a folder or hub id.

    Raises:
        OSError: it is not there or lacks a file.
        ValueError: its config.json is damaged.
    """
    folder = find(where)
    return Description.from_json(json.loads((folder / CONFIG).read_text())), folder / WEIGHTS


def load_network(where: str | Path) -> tuple[Network, Description]:
    """The network of a folder or hub id with its weights, on the CPU, in eval mode.

    Raises:
        OSError: it is not there or lacks a file.
        ValueError: a file is damaged, or the weights do not fit the configuration.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    description, weights = read(where)
    network = build(description.config)
    try:
        network.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{weights} does not fit its {CONFIG}: {str(error).splitlines()[0]}") from error
    return network.eval(), description
