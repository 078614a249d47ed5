"""Files of repositories on the Hugging Face hub, from its local cache where they are there."""

from collections.abc import Sequence
from pathlib import Path


def download(hub_id: str, files: Sequence[str]) -> Path:
    """The folder with these files of a repository; those in the cache are used without contacting the hub.

    Raises:
        OSError: it is not a folder's name nor an id, or the hub cannot be reached or does not have it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        try:
            cached = Path(snapshot_download(hub_id, allow_patterns=list(files), local_files_only=True))
            if all((cached / name).is_file() for name in files):
                return cached
        except OSError:
            pass  # not downloaded yet
        return Path(snapshot_download(hub_id, allow_patterns=list(files)))
    except HFValidationError:
        raise OSError("no such folder, and not a valid id of the Hugging Face hub") from None
    except OSError as error:  # its messages have many lines
        raise OSError(
            f"no such folder, and the Hugging Face hub does not give it ({str(error).splitlines()[0]})"
        ) from error
