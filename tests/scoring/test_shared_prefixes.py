"""Shared prompts against forwards of single rows: equal scores, and no token computed twice."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MptConfig,
    MptForCausalLM,
)

from selfdistill.scoring.batching import less_padded
from selfdistill.scoring.prefix_schedule import schedule_prefixes, shared_fronts
from selfdistill.scoring.query import Query
from selfdistill.scoring.scorer import ModelScorer, read_responses, score
from selfdistill.scoring.scores import Sequences
from selfdistill.scoring.shared_prefixes import ModelForwards, backward_with_prefixes, score_with_prefixes
from selfdistill.scoring.sharing import can_share

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 60}


def tokens(rng, low, high):
    return [rng.randrange(50) for _ in range(rng.randint(low, high))]


def grouped(seed, groups=3, members=5, uses=8):
    """Prompts of some groups, each with a front of its own, under which responses are scored again and again."""
    rng = random.Random(seed)
    prompts, responses = [], []
    for _ in range(groups):
        front = tokens(rng, 0, 9)
        contexts = [front + tokens(rng, 1, 12) for _ in range(members)]
        texts = [tokens(rng, 1, 10) for _ in range(members)]
        for _ in range(uses):
            prompts.append(rng.choice(contexts))
            responses.append(rng.choice(texts))
    order = rng.sample(range(len(prompts)), len(prompts))
    return Sequences([prompts[i] for i in order], [responses[i] for i in order])


def alone(model, sequences, width, temperature=1.0):
    """Log-probs (N, width, V) by a forward of each row by itself, float64; zero behind a response."""
    found = torch.zeros(len(sequences.prompts), width, model.config.vocab_size, dtype=torch.float64)
    for i, (prompt, response) in enumerate(zip(sequences.prompts, sequences.responses, strict=True)):
        if not len(response):
            continue
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *response]])).logits[0].double() / temperature
        found[i, : len(response)] = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return found


def mask_of(sequences, width):
    return torch.tensor([[t < len(response) for t in range(width)] for response in sequences.responses])


def assert_scores(model, sequences, max_tokens=10**6, temperature=1.0, packed=False, worth=None):
    """Everything that can be read, against single rows."""
    width = max(map(len, sequences.responses)) + 1
    expected, inside = alone(model, sequences, width, temperature), mask_of(sequences, width)
    schedule = schedule_prefixes(sequences, max_tokens)
    forwards = ModelForwards(model, temperature, packed, worth)
    found = score_with_prefixes(forwards, sequences, schedule, width, max_tokens, Query(4, entropy=True))
    taken = torch.zeros(len(inside), width, dtype=torch.int64)
    for i, response in enumerate(sequences.responses):
        taken[i, : len(response)] = torch.tensor(response)
    close = {"rtol": 0, "atol": 1e-5}
    read = torch.where(inside, expected.gather(-1, taken[..., None])[..., 0], 0)
    torch.testing.assert_close(found.logprobs.double(), read, **close)
    torch.testing.assert_close(
        found.entropy.double(), torch.where(inside, -(expected.exp() * expected).sum(-1), 0), **close
    )
    best = expected.topk(4, dim=-1).values
    torch.testing.assert_close(found.support.double(), torch.where(inside[..., None], best, 0), **close)
    torch.testing.assert_close(found.support.double(), expected.gather(-1, found.ids) * inside[..., None], **close)
    given = torch.randint(0, 50, (*inside.shape, 3), generator=torch.Generator().manual_seed(0))
    at_given = score_with_prefixes(forwards, sequences, schedule, width, max_tokens, Query(ids=given))
    torch.testing.assert_close(at_given.support.double(), expected.gather(-1, given) * inside[..., None], **close)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("seed", "max_tokens"), [(0, 1), (1, 25), (2, 10**6), (3, 25), (4, 10**6), (5, 1), (6, 25)])
def test_scores_are_those_of_single_forwards(model, seed, max_tokens, packed):
    assert_scores(model, grouped(seed), max_tokens, temperature=(1.0, 0.6)[seed % 2], packed=packed)


@pytest.mark.parametrize("worth", [0, 5])
def test_scores_are_the_same_where_padding_is_cut(model, worth):
    assert_scores(model, grouped(2), worth=worth)


@pytest.mark.parametrize("packed", [False, True])
def test_prompts_of_one_token_and_prompts_within_prompts(model, packed):
    prompts = [[5], [5, 6], [5, 6, 7], [5, 6, 7], [8], [5, 6]]
    assert_scores(model, Sequences(prompts, [[1], [2, 3], [4], [5, 1, 2], [6, 7], [2, 3]]), packed=packed)


def test_prompts_of_one_token_alone(model):
    assert_scores(model, Sequences([[5], [8]], [[1, 2], [3]]), packed=True)


def test_packed_rows_are_not_padded(model):
    sequences = grouped(3)
    schedule = schedule_prefixes(sequences, 10**6)
    forwards = ModelForwards(model, packed=True)
    shapes = computed(model, lambda: score_with_prefixes(forwards, sequences, schedule, 10, 10**6))
    assert {rows for rows, _ in shapes} == {1}
    empty = sum(len(rest) == 0 for wave in schedule.waves for rest in [*wave.rests(schedule.bodies), *wave.fronts])
    assert sum(tokens for _, tokens in shapes) == schedule.tokens + empty  # a stand-in for each row without tokens


@pytest.mark.parametrize("worth", [None, 0, 5])
@pytest.mark.parametrize("max_tokens", [1, 25, 10**6])
def test_a_schedule_says_how_many_forwards_it_takes(model, max_tokens, worth):
    sequences = grouped(3)
    schedule = schedule_prefixes(sequences, max_tokens)
    forwards = ModelForwards(model, worth=worth)
    shapes = computed(model, lambda: score_with_prefixes(forwards, sequences, schedule, 10, max_tokens))
    assert schedule.forwards(sequences, max_tokens, worth) == len(shapes)
    if worth == 0 and max_tokens == 10**6:  # all rows of a forward have one length
        assert len(shapes) > schedule.forwards(sequences, max_tokens)
        padded = sum(rows * columns for rows, columns in shapes[2:])
        assert padded == sum(map(len, sequences.responses))


def columns(batches):
    return sum(len(batch) * max(batch) for batch in batches)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(0, 80))
@settings(deadline=None, max_examples=200)
def test_padding_is_cut_where_that_saves_more_than_a_forward_and_nowhere_else(lengths, worth):
    rows = sorted(lengths, reverse=True)
    batches = list(less_padded(rows, lambda row: row, worth))
    assert [row for batch in batches for row in batch] == rows
    for batch in batches:  # no cut is left that saves more
        assert all(
            columns([batch]) - columns([batch[:place], batch[place:]]) <= worth for place in range(1, len(batch))
        )
    assert columns([rows]) - columns(batches) >= (worth + 1) * (len(batches) - 1)


def test_rows_without_a_response_are_zero_and_cost_nothing(model):
    sequences = Sequences([[5, 6], [5, 6], [9] * 20], [[1, 2], [], []])
    schedule = schedule_prefixes(sequences, 10**6)
    assert schedule.tokens == 1 + 2
    assert_scores(model, sequences)


def tiny(kind):
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2, max_position_embeddings=128))
    if kind == "eager":
        config = LlamaConfig(**SIZES, num_key_value_heads=4, attn_implementation="eager")
        return LlamaForCausalLM(config)
    if kind == "mistral":
        config = MistralConfig(**SIZES, num_key_value_heads=1, sliding_window=None)
        return MistralForCausalLM(config)
    if kind == "sliding":
        config = MistralConfig(**SIZES, num_key_value_heads=1, sliding_window=8)
        return MistralForCausalLM(config)
    if kind == "dynamic":
        rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
        config = LlamaConfig(**SIZES, num_key_value_heads=2, max_position_embeddings=64, rope_parameters=rope)
        return LlamaForCausalLM(config)
    if kind == "learned positions":
        return GPT2LMHeadModel(
            GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=60, bos_token_id=1, eos_token_id=2)
        )
    if kind == "alibi":
        return FalconForCausalLM(FalconConfig(**SIZES, alibi=True, bos_token_id=1, eos_token_id=2))
    if kind == "bloom":
        return BloomForCausalLM(BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=60))
    if kind == "mpt":
        return MptForCausalLM(MptConfig(d_model=32, n_layers=2, n_heads=4, vocab_size=60, expansion_ratio=2))
    if kind == "local":
        layers = {"attention_types": [[["global", "local"], 1]], "window_size": 4}
        sizes = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "vocab_size": 60}
        return GPTNeoForCausalLM(GPTNeoConfig(**sizes, **layers, bos_token_id=1, eos_token_id=2))
    config = Gemma2Config(**SIZES, num_key_value_heads=2, head_dim=8, sliding_window=8)
    return Gemma2ForCausalLM(config)


@pytest.mark.parametrize("kind", ["llama", "eager", "mistral", "learned positions"])
def test_other_models_with_full_attention(kind):
    torch.manual_seed(0)
    model = tiny(kind).eval()
    assert can_share(model)
    assert_scores(model, grouped(1), 40)
    assert can_share(model, packed=True)
    assert_scores(model, grouped(1), 40, packed=True)


@pytest.mark.parametrize("kind", ["sliding", "gemma", "dynamic", "alibi", "bloom", "mpt", "local"])
def test_models_whose_prefixes_are_not_their_own_are_read_whole(kind):
    torch.manual_seed(0)
    model = tiny(kind).eval()
    assert not can_share(model)
    sequences = grouped(2)
    width = max(map(len, sequences.responses))
    found = ModelScorer(model, 10**6)(sequences, width)
    assert found.forwarded == sum(sequences.lengths)
    whole = score(model, sequences, width, 10**6)
    assert torch.equal(found.logprobs, whole.logprobs)


def test_a_model_that_recomputes_activations_drops_its_cache(model):
    model.gradient_checkpointing_enable()
    try:
        model.train()
        assert not can_share(model)
        model.eval()
        assert can_share(model)
    finally:
        model.gradient_checkpointing_disable()
        model.eval()


def test_what_is_not_a_model_of_transformers_is_read_whole():
    assert not can_share(object())


# ------------------------------------------------------------------------------------------------ what is computed


def computed(model, call):
    """Tokens that went through the embedding, padding included, forward by forward."""
    shapes = []
    hook = model.get_input_embeddings().register_forward_pre_hook(lambda _, a: shapes.append(tuple(a[0].shape)))
    try:
        call()
    finally:
        hook.remove()
    return shapes


def test_every_prompt_and_every_front_is_computed_once(model):
    """Two groups whose prompts are all as long, so that nothing is padded: the count is exact."""
    fronts = [[1] * 10, [2] * 10]
    prompts = [[*front, hint, 3, 4, 5] for front in fronts for hint in (10, 11, 12)]
    sequences = Sequences([p for p in prompts for _ in range(4)], [[6, 7, 8, 9 + i % 4] for i in range(24)])
    schedule = schedule_prefixes(sequences, 10**6)
    shapes = computed(model, lambda: score_with_prefixes(ModelForwards(model), sequences, schedule, 4, 10**6))
    assert shapes == [(2, 10), (6, 3), (24, 4)]  # a prompt's last token stands before its responses
    assert schedule.tokens == sum(rows * columns for rows, columns in shapes)


@pytest.mark.parametrize("packed", [False, True])
def test_prompts_end_where_the_last_layer_has_their_keys(model, packed):
    """What a layer makes of them is computed for the next one only."""
    sequences = grouped(3)
    schedule, counts = schedule_prefixes(sequences, 10**6, fronts=False), []
    layers = model.base_model.layers
    hooks = [layer.register_forward_hook(lambda *_, i=i: counts.append(i)) for i, layer in enumerate(layers)]
    try:
        score_with_prefixes(ModelForwards(model, packed=packed), sequences, schedule, 10, 10**6)
    finally:
        for hook in hooks:
            hook.remove()
    assert [counts.count(i) for i in range(len(layers))] == [2] * (len(layers) - 1) + [1]


def test_forwards_keep_to_the_budget(model):
    sequences = grouped(3, groups=4)
    schedule = schedule_prefixes(sequences, 30)
    shapes = computed(model, lambda: score_with_prefixes(ModelForwards(model), sequences, schedule, 10, 30))
    assert max(rows * columns for rows, columns in shapes) <= 30
    assert len(schedule.waves) > 1


def test_long_fronts_and_prompts_count_towards_the_budget(model, monkeypatch):
    """Short rests behind fronts of a hundred tokens, many short responses under each: what is held are the keys."""
    rng = random.Random(0)
    prompts = [[*front, *tokens(rng, 2, 4)] for front in (tokens(rng, 100, 100) for _ in range(6)) for _ in range(3)]
    sequences = Sequences([prompt for prompt in prompts for _ in range(8)], [tokens(rng, 2, 5) for _ in range(18 * 8)])
    keys, attend = [], torch.nn.functional.scaled_dot_product_attention

    def watched(query, key, value, **options):
        keys.append(key.shape[0] * key.shape[2])
        return attend(query, key, value, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    schedule = schedule_prefixes(sequences, 500)
    assert all(len(wave.fronts) for wave in schedule.waves)
    assert max(len(wave.prompts) for wave in schedule.waves) == 4  # of some 105 tokens each
    shapes = computed(model, lambda: score_with_prefixes(ModelForwards(model), sequences, schedule, 5, 500))
    assert max(rows * columns for rows, columns in shapes) <= 500
    assert 1500 < max(keys) <= 4 * 500


def test_a_row_over_the_budget_goes_by_itself(model):
    sequences = grouped(3, groups=2)
    schedule = schedule_prefixes(sequences, 1)
    shapes = computed(model, lambda: score_with_prefixes(ModelForwards(model), sequences, schedule, 10, 1))
    assert {rows for rows, _ in shapes} == {1}


def test_the_plan_counts_what_is_read_and_uses_every_row_once():
    sequences = grouped(4)
    schedule = schedule_prefixes(sequences, 10**6)
    assert sorted(row for use in schedule.uses for row in use) == list(range(len(sequences.prompts)))
    for body, rows in zip(schedule.bodies, schedule.uses, strict=True):
        assert {tuple(sequences.prompts[row][:-1]) for row in rows} == {body}
    saved = sum((len(c.prompts) - 1) * c.length for c in shared_fronts(schedule.bodies))
    assert schedule.tokens == sum(map(len, schedule.bodies)) - saved + sum(map(len, sequences.responses))
    assert schedule.tokens < sum(sequences.lengths)


def test_the_same_sequences_have_the_same_plan():
    assert schedule_prefixes(grouped(5), 50) == schedule_prefixes(grouped(5), 50)


# ------------------------------------------------------------------------------------------------ fronts


def slow_saving(bodies):
    """Most tokens that fronts of runs of the sorted prompts can save, by trying every way to cut them."""
    order = sorted(bodies)

    def common(run):
        front = 0
        while front < min(map(len, run)) - 1 and len({body[front] for body in run}) == 1:
            front += 1
        return front

    def best(start):
        if start == len(order):
            return 0
        found = []
        for end in range(start + 1, len(order) + 1):
            run = order[start:end]
            gain = common(run) * (len(run) - 1) if len(run) > 1 else 0
            if len(run) == 1 or gain >= 0.1 * sum(map(len, run)):
                found.append(gain + best(end))
        return max(found)

    return best(0)


@pytest.mark.parametrize("seed", range(20))
def test_fronts_save_as_much_as_any(seed):
    rng = random.Random(seed)
    bodies = set()
    for _ in range(rng.randint(1, 3)):
        front = tokens(rng, 0, 6)
        bodies |= {tuple(front + tokens(rng, 0, 3)) for _ in range(rng.randint(1, 3))}
    bodies = sorted(bodies, key=lambda _: rng.random())
    found = shared_fronts(bodies)
    assert sorted(i for shared in found for i in shared.prompts) == list(range(len(bodies)))
    for shared in found:
        assert len({bodies[i][: shared.length] for i in shared.prompts}) == 1
        assert shared.length == 0 or all(len(bodies[i]) > shared.length for i in shared.prompts)
    assert sum((len(c.prompts) - 1) * c.length for c in found) == slow_saving(bodies)


def test_a_header_alone_is_not_worth_a_forward():
    bodies = [(1, 2, *range(i, i + 40)) for i in (10, 20, 30)]
    assert all(shared.length == 0 for shared in shared_fronts(bodies))


# ------------------------------------------------------------------------------------------------ the scorer


def test_a_scorer_shares_where_it_saves_and_says_what_it_forwarded(model):
    shared, single = grouped(6), Sequences([[1, 2, 3] * 9, [4, 5] * 9], [[6], [7, 8]])
    scorer = ModelScorer(model, 10**6)
    assert scorer(shared, 10).forwarded == schedule_prefixes(shared, 10**6).tokens
    assert scorer(single, 2).forwarded == sum(single.lengths)
    assert computed(model, lambda: scorer(single, 2)) == [(2, 29)]


def test_alone_is_another_way_to_the_same_scores(model):
    """Whole rows, one at a time: what the null contrast compares shared prompts with."""
    sequences = grouped(7)
    scorer = ModelScorer(model, 10**6)
    shapes = computed(model, lambda: scorer(sequences, 10, alone=True))
    assert {rows for rows, _ in shapes} == {1}
    assert len(shapes) == len(sequences.prompts)
    together, apart = scorer(sequences, 10), scorer(sequences, 10, alone=True)
    torch.testing.assert_close(together.logprobs, apart.logprobs, rtol=0, atol=1e-5)


# --------------------------------------------------------------------------------------------------------- gradients


def gradients(model):
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def weighted(values, rows, width):
    """An uneven sum: each row and column has its own weight."""
    made = torch.rand(1000, width, generator=torch.Generator().manual_seed(1))
    return (values * made[rows, : values.shape[1]].reshape(*values.shape[:2], *[1] * (values.dim() - 2))).sum()


@pytest.mark.parametrize(
    ("seed", "max_tokens", "asked"),
    [
        *((0, 1, "logprobs"), (1, 40, "logprobs"), (2, 10**6, "logprobs")),
        *((3, 40, "top_k"), (1, 10**6, "top_k"), (2, 1, "ids"), (3, 40, "ids"), (0, 10**6, "ids")),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_gradients_are_those_of_whole_rows(model, seed, max_tokens, asked, packed):
    sequences = grouped(seed)
    width, count = max(map(len, sequences.responses)), len(sequences.prompts)
    ids = torch.randint(0, 50, (count, width + 2, 3), generator=torch.Generator().manual_seed(0))
    query = {"logprobs": Query(), "top_k": Query(top_k=0), "ids": Query(ids=ids)}[asked]
    seen = []

    def loss(rows, read):
        seen.extend(rows)
        total = weighted(read.logprobs.square(), rows, width)
        return total if read.support is None else total + weighted(read.support.exp(), rows, width)

    schedule = schedule_prefixes(sequences, max_tokens, fronts=False)
    forwards = ModelForwards(model, 0.7, packed, worth=(None, 0)[seed % 2])
    backward_with_prefixes(forwards, sequences, schedule, max_tokens, loss, query)
    shared = gradients(model)
    assert sorted(seen) == list(range(count))
    for row in range(count):
        loss([row], read_responses(model, sequences, [row], 0.7, query.part([row]))).backward()
    whole = gradients(model)
    assert shared.keys() == whole.keys()
    for name, expected in whole.items():
        torch.testing.assert_close(shared[name], expected, rtol=2e-4, atol=2e-5 * float(expected.abs().max()))


def test_a_gradient_reaches_the_prompt_once_however_many_responses_it_has(model):
    sequences = Sequences([[3, 4, 5, 6, 7, 8]] * 6, [[9, 10 + i] for i in range(6)])
    schedule = schedule_prefixes(sequences, 4, fronts=False)
    shapes = computed(
        model,
        lambda: backward_with_prefixes(
            ModelForwards(model), sequences, schedule, 4, lambda _, read: read.logprobs.sum()
        ),
    )
    assert shapes == [(1, 5), (2, 2), (2, 2), (2, 2)]
    assert gradients(model)["model.layers.0.self_attn.k_proj.weight"].abs().max() > 0


def test_prompts_of_one_token_have_nothing_to_take_back(model):
    sequences = Sequences([[3], [3], [4]], [[5, 6], [7], [8]])
    schedule = schedule_prefixes(sequences, 100, fronts=False)
    backward_with_prefixes(ModelForwards(model), sequences, schedule, 100, lambda _, read: read.logprobs.sum())
    shared = gradients(model)
    read_responses(model, sequences, range(3)).logprobs.sum().backward()
    whole = gradients(model)
    for name, expected in whole.items():
        torch.testing.assert_close(shared[name], expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
