import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from selfdistill.sampling import decode_attention
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.decode_attention import grouped_attention
from selfdistill.sampling.interface import SamplingSettings


def make(heads, shared, length=1, dtype=torch.float32):
    torch.manual_seed(heads)
    query = torch.randn(3, heads, length, 8, dtype=dtype)
    key, value = torch.randn(2, 3, shared, 11, 8, dtype=dtype).unbind()
    mask = torch.zeros(3, 1, length, 9, dtype=dtype)
    mask[0, ..., 2:5], mask[1, ..., :7] = (torch.finfo(dtype).min,) * 2
    module = torch.nn.Module()
    module.num_key_value_groups = heads // shared
    return module, query, key[:, :, :9], value[:, :, :9], mask  # views of a longer cache, as in the loop


@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize(("heads", "shared"), [(4, 2), (6, 1), (4, 4)])
@pytest.mark.parametrize(("length", "dtype"), [(1, torch.float32), (2, torch.float32), (1, torch.float64)], ids=str)
def test_is_transformers_sdpa_attention(heads, shared, length, dtype, scaling):
    arguments = make(heads, shared, length, dtype)
    expected, _ = sdpa_attention_forward(*arguments, scaling=scaling)
    found, weights = grouped_attention(*arguments, scaling=scaling, dropout=0.0)
    assert weights is None
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_loop_uses_it_for_steps_where_the_model_uses_sdpa_and_puts_back_what_it_found(attention, monkeypatch):
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=20, num_hidden_layers=2, **sizes)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    lengths = []

    def watched(module, query, *arguments, **options):
        lengths.append(query.shape[2])
        return grouped_attention(module, query, *arguments, **options)

    monkeypatch.setitem(decode_attention.AttentionInterface._global_mapping, decode_attention._NAME, watched)
    DecodeLoop(model, 0, []).sample([[3, 4, 5]], SamplingSettings(4), [("attention",)])
    assert lengths == ([2, 2] + [1, 1] * 4 if attention == "sdpa" else [])
    assert model.config._attn_implementation == attention


def test_it_is_put_back_after_an_error_too(model):
    def fail():
        with decode_attention.decode_attention(model):
            assert model.config._attn_implementation != "sdpa"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert model.config._attn_implementation == "sdpa"
