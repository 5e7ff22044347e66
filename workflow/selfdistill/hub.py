"""Files of the hub (huggingface.co, or where HF_ENDPOINT points): fetched once into its own cache, HF_HOME.

A token is taken from the environment, and with HF_HUB_OFFLINE=1 only what the cache holds is used, as the hub's client
does everywhere.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from selfdistill.errors import UserError

#: What a model is made of, beside code: weights, configuration, chat template, tokenizer.
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer*", "*.txt", "*.model")
_NO_FOLDERS = "*/*"


def fetch_data(hub: Mapping[str, str], file: str) -> Path:
    """A file of a dataset repository, in the cache.

    Args:
        hub: id ("owner/name") and revision (branch, tag or commit).
        file: its path there.

    Raises:
        UserError: where it cannot be had.
    """
    from huggingface_hub import hf_hub_download

    return _fetched(
        f"{file} of {hub['id']}",
        hub,
        lambda: hf_hub_download(hub["id"], file, repo_type="dataset", revision=hub["revision"]),
    )


def fetch_model(hub: Mapping[str, str]) -> Path:
    """The folder of a model's files in the cache: MODEL_FILES at the top of the repository, never any code.

    Raises UserError where they cannot be had.
    """
    from huggingface_hub import snapshot_download

    return _fetched(
        hub["id"],
        hub,
        lambda: snapshot_download(
            hub["id"], revision=hub["revision"], allow_patterns=list(MODEL_FILES), ignore_patterns=[_NO_FOLDERS]
        ),
    )


def _fetched(what: str, hub: Mapping[str, str], fetch: Callable[[], str]) -> Path:
    from httpx import HTTPError
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(fetch())
    except (HTTPError, HfHubHTTPError, OSError, ValueError) as error:
        first = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise UserError(
            f"{what}, revision {hub['revision']}, cannot be had from the hub ({first}); check name, revision and "
            "connection (HF_TOKEN for gated repositories, HF_ENDPOINT for a mirror), or give a folder as `source`"
        ) from error
