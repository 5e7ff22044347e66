"""What is asked of the hub's client, and what becomes of its errors. No network: its functions are replaced."""

import huggingface_hub
import pytest
from httpx import ConnectTimeout
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import filter_repo_objects

from selfdistill.errors import UserError
from selfdistill.hub import fetch_data, fetch_model

HUB = {"id": "owner/name", "revision": "0123abc"}
OF_A_MODEL = [
    "config.json",
    "generation_config.json",
    "model-00001-of-00002.safetensors",
    "model.safetensors.index.json",
]
OF_A_MODEL += ["tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "chat_template.jinja"]
OF_NO_USE = ["modeling_own.py", "pytorch_model.bin", "model.gguf", "README.md", ".gitattributes", "training_args.pt"]
OF_NO_USE += ["onnx/config.json", "original/params.json", "original/model.safetensors"]


def test_a_file_of_a_dataset_is_asked_for_by_place_and_revision(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **k: asked.append((a, k)) or str(tmp_path))
    assert fetch_data(HUB, "amc23+aime24/val.parquet") == tmp_path
    assert asked == [(("owner/name", "amc23+aime24/val.parquet"), {"repo_type": "dataset", "revision": "0123abc"})]


def test_of_a_model_nothing_is_fetched_but_weights_tokenizer_and_configuration(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: asked.append((a, k)) or str(tmp_path))
    assert fetch_model(HUB) == tmp_path
    (((name,), options),) = asked
    assert (name, options["revision"]) == ("owner/name", "0123abc")
    patterns = {key: options[key] for key in ("allow_patterns", "ignore_patterns")}
    assert sorted(filter_repo_objects([*OF_A_MODEL, *OF_NO_USE], **patterns)) == sorted(OF_A_MODEL)


@pytest.mark.parametrize(
    "error", [ConnectTimeout("timed out"), LocalEntryNotFoundError("not in the cache.\nMore."), OSError(28, "No space")]
)
@pytest.mark.parametrize("fetch", [fetch_model, lambda hub: fetch_data(hub, "kk_4to8/train.parquet")])
def test_whatever_fails_is_one_message_with_name_revision_and_cause(monkeypatch, fetch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(
        UserError, match=r"owner/name, revision 0123abc, cannot be had from the hub \(.+\); check"
    ) as said:
        fetch(HUB)
    assert "\n" not in str(said.value)
    assert str(error).partition("\n")[0].rstrip(".") in str(said.value)


@pytest.mark.parametrize("fetch", [fetch_model, lambda hub: fetch_data(hub, "kk_4to8/train.parquet")])
def test_offline_with_an_empty_cache_the_real_client_says_so_at_once(monkeypatch, tmp_path, fetch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="cannot be had from the hub"):
        fetch(HUB)
