"""Positions of a forward, read from its hidden states, against the model's own logits."""

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GraniteConfig,
    PhiConfig,
    Qwen3Config,
)

from selfdistill.errors import UserError
from selfdistill.scoring import head, reading
from selfdistill.scoring.head import read_logits
from selfdistill.scoring.query import LOGPROBS_ONLY, Query
from selfdistill.scoring.reading import read_forward, read_in_parts

V = 61
SIZES = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
HEADS = {"head_dim": 8}
#: Name -> config, and whether its logits are what its output layer returns.
MODELS = {
    "grouped queries, own head": (Qwen3Config(**SIZES, **HEADS, tie_word_embeddings=False), True),
    "tied head": (Qwen3Config(**SIZES, **HEADS, tie_word_embeddings=True), True),
    "head with a bias": (PhiConfig(**SIZES), True),
    "learned positions": (
        GPT2Config(vocab_size=V, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3, bos_token_id=1, eos_token_id=2),
        True,
    ),
    "soft cap": (Gemma2Config(**SIZES, **HEADS, final_logit_softcapping=2.0), False),
    "no soft cap": (Gemma2Config(**SIZES, **HEADS, final_logit_softcapping=None), True),
    "divided logits": (GraniteConfig(**SIZES, logits_scaling=3.0), False),
    "scaled logits": (CohereConfig(**SIZES, logit_scale=0.25), False),
}
ROWS, LENGTH = 3, 9
INPUTS = {
    "input_ids": torch.randint(3, V, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0)),
    "attention_mask": torch.ones(ROWS, LENGTH, dtype=torch.long),
    "use_cache": False,
}
#: Out of order, one of them twice, the last column too.
PICKED = torch.tensor([26, 3, 0, 11, 17, 3, 20])
LABELS = torch.tensor([5, 60, 0, 7, 7, 9, 33])
IDS = torch.randint(V, (len(PICKED), 4), generator=torch.Generator().manual_seed(1))
ASKED = {
    "nothing": Query(entropy=True),
    "chosen": Query(top_k=5, entropy=True),
    "given": Query(ids=IDS, entropy=True),
    "full": Query(top_k=0, entropy=True),
}


def built(name):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(MODELS[name][0]).eval()
    layer = model.get_output_embeddings()
    assert (layer.bias is not None) == (name == "head with a bias")
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    return model


def plainly(model, inputs, picked, labels, query=LOGPROBS_ONLY, temperature=1.0):
    """From the logits of all positions."""
    return read_logits(model(**inputs).logits.flatten(0, 1)[picked], labels, query, temperature=temperature)


def gradients(model, found):
    outputs = [x for x in (found.logprobs, found.support, found.entropy) if x is not None]
    made = torch.Generator().manual_seed(2)
    loss = sum((x * torch.randn(x.shape, generator=made)).sum() for x in outputs)
    loss.backward()
    taken = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return taken


def assert_same(found, expected):
    for name, value in expected._asdict().items():
        other = getattr(found, name)
        assert (value is None) == (other is None)
        if value is not None:
            torch.testing.assert_close(other, value, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("name", MODELS)
def test_whole_distributions_in_parts_are_those_of_the_models_own_logits(name):
    model = built(name)
    reader = read_in_parts(model, INPUTS, PICKED, temperature=0.7)
    found = torch.cat([reader.logprobs(part) for part in (slice(0, 3), slice(3, 4), slice(4, 99))])
    expected = (model(**INPUTS).logits.flatten(0, 1)[PICKED] / 0.7).log_softmax(dim=-1)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-6, atol=2e-6)
    assert reader.vocabulary == found.shape[1]


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("name", MODELS)
def test_numbers_and_gradients_are_those_of_the_models_own_logits(name, asked):
    model = built(name)
    found = read_forward(model, INPUTS, PICKED, LABELS, ASKED[asked], temperature=0.7)
    expected = plainly(model, INPUTS, PICKED, LABELS, ASKED[asked], temperature=0.7)
    assert_same(found, expected)
    taken, wanted = gradients(model, found), gradients(model, expected)
    assert taken.keys() == wanted.keys()
    assert len(wanted) > 10
    for key, gradient in wanted.items():
        largest = float(gradient.abs().max())
        torch.testing.assert_close(taken[key], gradient, rtol=1e-5, atol=3e-6 * max(largest, 1.0), msg=key)


@pytest.mark.parametrize("name", MODELS)
def test_only_models_that_change_their_logits_make_them(name, monkeypatch):
    """The layer is given no position by the others, and the picked ones by these."""
    model, seen = built(name), []
    with torch.no_grad():
        read_forward(model, INPUTS, PICKED, LABELS)
        layer = model.get_output_embeddings()
        layer.register_forward_hook(lambda _, arguments, output: seen.append(output.shape))
        read_forward(model, INPUTS, PICKED, LABELS)
    assert [shape.numel() for shape in seen] == [0 if MODELS[name][1] else len(PICKED) * V]


class Widest(TorchDispatchMode):
    """Most rows of logits, (..., V), that any operation makes."""

    def __init__(self):
        super().__init__()
        self.rows = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.shape[-1:] == (V,) and not function.is_view:
            self.rows = max(self.rows, out.numel() // V)
        return out


@pytest.mark.parametrize(("reading_of", "rows"), [(read_forward, 2), (plainly, ROWS * LENGTH)])
def test_an_update_holds_a_chunk_of_logits_at_most(reading_of, rows, monkeypatch):
    model = built("grouped queries, own head")
    reading._is_plain(model)
    monkeypatch.setattr(head, "_ELEMENTS", 3 * V - 1)
    with Widest() as widest:
        gradients(model, reading_of(model, INPUTS, PICKED, LABELS, Query(entropy=True)))
    assert widest.rows == rows


def test_a_soft_cap_is_noticed_where_it_changes_next_to_nothing():
    """At 1e4 it moves these logits by less than float32 can tell."""
    torch.manual_seed(0)
    config = Gemma2Config(**{**SIZES, "initializer_range": 0.01}, **HEADS, final_logit_softcapping=1e4)
    assert not reading._is_plain(AutoModelForCausalLM.from_config(config))


def test_a_layer_that_others_have_changed_makes_its_own_logits():
    """A hook on it (as adapters and devices' managers use) and a layer of another class, at first without effect."""

    class Adapted(nn.Linear):
        extra = 0.0

        def forward(self, hidden):
            return super().forward(hidden) * (1 + self.extra)

    hooked, adapted = built("tied head"), built("grouped queries, own head")
    hooked.get_output_embeddings().register_forward_hook(lambda _, arguments, output: output * 2)
    layer = Adapted(32, V, bias=False)
    layer.weight = adapted.get_output_embeddings().weight
    adapted.set_output_embeddings(layer)
    for model in (hooked, adapted):
        layer.extra = 0.0
        with torch.no_grad():
            read_forward(model, INPUTS, PICKED, LABELS)
            layer.extra = 0.5
            assert_same(read_forward(model, INPUTS, PICKED, LABELS), plainly(model, INPUTS, PICKED, LABELS))


def test_a_model_that_does_not_call_its_layer_is_refused():
    """Its logits would come from something else than what would be read in parts."""
    model = built("tied head")
    model.get_output_embeddings = lambda: nn.Linear(32, V, bias=False)
    with pytest.raises(UserError, match="not called as a layer"):
        read_forward(model, INPUTS, PICKED, LABELS)
    assert model not in reading._PLAIN


def test_asking_disturbs_nothing_and_happens_once():
    """Random state (dropout draws from it), mode, gradients and hooks, in training mode and with gradient."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(Qwen3Config(**SIZES, **HEADS, attention_dropout=0.5)).train()
    twin = copy.deepcopy(model)
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    for expected_calls in (2, 1):
        torch.manual_seed(3)
        found = read_forward(model, INPUTS, PICKED, LABELS)
        torch.manual_seed(3)
        assert_same(found, plainly(twin, INPUTS, PICKED, LABELS))
        assert len(calls) == expected_calls
        calls.clear()
    assert model.training
    assert not model.get_output_embeddings()._forward_hooks
    assert not model.get_output_embeddings()._forward_pre_hooks
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_is_known_of_a_model_goes_with_it():
    model = built("tied head")
    with torch.no_grad():
        read_forward(model, INPUTS, PICKED, LABELS)
    assert model in reading._PLAIN
    before = len(reading._PLAIN)
    del model
    assert len(reading._PLAIN) == before - 1


@pytest.mark.parametrize("name", ["tied head", "soft cap"])
def test_a_forward_that_fails_leaves_no_hook(name):
    model = built(name)
    with torch.no_grad():
        read_forward(model, INPUTS, PICKED, LABELS)
        with pytest.raises(IndexError):
            read_forward(model, INPUTS, torch.tensor([ROWS * LENGTH]), LABELS[:1])
        torch.testing.assert_close(model(**INPUTS).logits.shape, torch.Size([ROWS, LENGTH, V]))


@pytest.mark.parametrize("name", ["grouped queries, own head", "soft cap"])
def test_keys_and_values_of_a_prefix_are_used_and_grow(name):
    model = built(name)
    with torch.no_grad():
        cache = model(INPUTS["input_ids"][:, :4]).past_key_values
        rest = {"input_ids": INPUTS["input_ids"][:, 4:], "past_key_values": cache, "use_cache": True}
        found = read_forward(model, rest, torch.tensor([0, 4, 14]), LABELS[:3])
        assert cache.get_seq_length() == LENGTH
        assert_same(found, plainly(model, INPUTS, torch.tensor([4, 8, 26]), LABELS[:3]))


def test_no_positions_are_no_problem():
    for name in ("tied head", "soft cap"):
        found = read_forward(built(name), INPUTS, PICKED[:0], LABELS[:0], Query(2, entropy=True))
        assert [tuple(x.shape) for x in found] == [(0,), (0, 2), (0, 2), (0,)]
