"""Rows with pictures: positions, features and prefixes against transformers' plain forward."""

import pytest
import torch
from tiny_vision import picture, pictured_prompt, vision_model, vision_reader, vision_tokenizer

from selfdistill.errors import UserError
from selfdistill.models.tiny_model import TinyModel, build_model
from selfdistill.scoring import pictures
from selfdistill.scoring.pictures import banned_ids, forward, picture_features
from selfdistill.scoring.prefix_schedule import schedule_prefixes
from selfdistill.scoring.prompts import Prompt, collapsed, expanded, keyed, pictures_of, row_positions, vision_tokens
from selfdistill.scoring.query import Query
from selfdistill.scoring.scorer import ModelScorer, micro_batches, read_responses, response_inputs, score
from selfdistill.scoring.scores import Sequences
from selfdistill.scoring.shared_prefixes import ModelForwards, backward_with_prefixes, score_with_prefixes
from selfdistill.scoring.sharing import can_share

RESPONSES = [[11, 12, 13], [11, 12, 13], [14, 15], [4, 5, 6, 7], [9]]


@pytest.fixture(scope="module")
def model():
    return vision_model(vision_tokenizer())


@pytest.fixture(scope="module")
def reader(model):
    return vision_reader(model)


@pytest.fixture(scope="module")
def sequences(reader):
    """One picture; another with the same words; two of unlike sizes; none; the first once more."""
    a, b, wide = picture(1), picture(2), picture(3, 32, 24)
    shown = [(a,), (b,), (a, wide), (), (a,)]
    return Sequences([pictured_prompt(reader, *each) if each else [1, 8, 9, 7] for each in shown], RESPONSES)


@pytest.fixture(autouse=True)
def _nothing_kept():
    pictures._FEATURES.clear()


def plain_logits(model, prompt, response):
    """transformers' own forward: pixels, and positions as the model finds them. Banned ids left out."""
    ids = torch.tensor([[*prompt, *response]])
    told = {}
    if shown := pictures_of(prompt):
        told = {
            "pixel_values": torch.cat([each.load() for each in shown]),
            "image_grid_thw": torch.tensor([each.grid for each in shown]),
            "mm_token_type_ids": (ids == model.config.image_token_id).int(),
        }
    logits = model(input_ids=ids, **told).logits[0]
    logits = logits.index_fill(1, torch.tensor(banned_ids(model.config)), -1e9)
    return torch.log_softmax(logits, dim=-1)[len(prompt) - 1 : -1]


def plain_logprobs(model, prompt, response):
    return plain_logits(model, prompt, response).gather(1, torch.tensor(response)[:, None])[:, 0]


@torch.no_grad()
def test_scores_are_those_of_a_plain_forward_padded_packed_shared_and_alone(model, sequences):
    expected = [plain_logprobs(model, *row) for row in zip(sequences.prompts, sequences.responses, strict=True)]
    assert can_share(model)
    schedule = schedule_prefixes(sequences, 1000)
    together = score(model, sequences, 4, 10000, query=Query(entropy=True))
    every = {
        "together": together,
        "alone": score(model, sequences, 4, 1),
        "shared": score_with_prefixes(ModelForwards(model), sequences, schedule, 4, 1000),
        "shared, little room": score_with_prefixes(
            ModelForwards(model), sequences, schedule_prefixes(sequences, 20), 4, 5
        ),
        "scorer": ModelScorer(model, 60)(sequences, 4),
        "another shape": ModelScorer(model, 60)(sequences, 4, alone=True),
    }
    for name, scores in every.items():
        for row, own in enumerate(expected):
            found = scores.logprobs[row]
            torch.testing.assert_close(found[: len(own)], own, rtol=0, atol=1e-5, msg=f"{name}, row {row}")
    whole = plain_logits(model, sequences.prompts[2], sequences.responses[2])
    torch.testing.assert_close(together.entropy[2, :2], -(whole.exp() * whole).sum(dim=1), rtol=0, atol=1e-5)
    assert float((expected[0] - expected[1]).abs().max()) > 0.05  # another picture, the same words


@torch.no_grad()
def test_packed_rows_are_scored_alike(model, sequences):
    if not can_share(model, packed=True):
        pytest.skip("no packed attention here")
    schedule = schedule_prefixes(sequences, 1000)
    packed = score_with_prefixes(ModelForwards(model, packed=True), sequences, schedule, 4, 1000)
    torch.testing.assert_close(packed.logprobs, score(model, sequences, 4, 10000).logprobs, rtol=0, atol=1e-5)


def test_positions_are_the_models_own(model, sequences):
    for prompt, response in zip(sequences.prompts, sequences.responses, strict=True):
        ids = torch.tensor([[*prompt, *response]])
        grids = torch.tensor([each.grid for each in pictures_of(prompt)]) if pictures_of(prompt) else None
        kinds = (ids == model.config.image_token_id).int()
        theirs, _ = model.model.get_rope_index(ids, kinds, image_grid_thw=grids)
        known = {each.key: each for each in pictures_of(prompt)}
        own, end = row_positions((*keyed(prompt), *response), known)
        assert torch.equal(own[1:], theirs[:, 0])
        assert own[0].tolist() == list(range(ids.shape[1]))
        assert end == (ids.shape[1], int(theirs.max()) + 1)
        cut = len(prompt)  # what follows goes on where it ended
        _, start = row_positions(keyed(prompt), known)
        rest, _ = row_positions(response, known, start)
        assert torch.equal(rest, own[:, cut:])


def test_equal_words_under_unlike_pictures_share_no_more_than_what_lies_before(reader, sequences):
    schedule = schedule_prefixes(sequences, 1000)
    assert len(schedule.bodies) == 4  # the first and the last prompt are one
    fronts = [front for wave in schedule.waves for front in wave.fronts]
    assert all(key >= 0 for front in fronts for key in front[:2])
    one, other = schedule_prefixes(Sequences(sequences.prompts[:2], RESPONSES[:2]), 1000).bodies
    assert one[:2] == other[:2]
    assert not set(one[2:11]) & set(other[2:11])
    # What two prompts have in common may end inside a picture that one shows twice: it is then left out whole.
    twice = expanded([1, reader.token, reader.token, 5, 6, 7, 8, 9], reader.of([picture(1)] * 2))
    once = expanded([1, reader.token, 5, 6, 7, 8, 9], reader.of([picture(1)]))
    waves = schedule_prefixes(Sequences([twice, once], [[3], [3]]), 1000).waves
    assert {len(front) for wave in waves for front in wave.fronts} <= {0, 1, 10}


@torch.no_grad()
def test_pictures_swapped_between_two_rows_swap_their_scores(model, reader, sequences):
    pair = Sequences(sequences.prompts[:2], RESPONSES[:2])  # the same words, the same response
    swapped = Sequences(sequences.prompts[1::-1], RESPONSES[:2])
    for scorer in (ModelScorer(model, 1000), lambda rows, width: score(model, rows, width, 1)):
        own, other = (scorer(each, 3).logprobs for each in (pair, swapped))
        assert float((own - other).abs().max()) > 0.05
        torch.testing.assert_close(other, own.flip(0), rtol=0, atol=1e-5)


@torch.no_grad()
def test_positions_in_a_line_are_not_the_models_own(model, sequences):
    """What would be silently wrong: a picture of 3 x 3 tokens takes 3 positions of the text, not 9."""
    inputs, _, _ = response_inputs(sequences, [0], model)
    own = forward(model, inputs).logits
    line = torch.arange(inputs["input_ids"].shape[1]).expand_as(inputs["position_ids"])
    inputs, _, _ = response_inputs(sequences, [0], model)
    moved = (forward(model, inputs | {"position_ids": line}).logits - own)[0].abs().max(dim=1).values
    assert float(moved[:2].max()) == 0  # before the picture
    assert float(moved[-3:].min()) > 0.01


@torch.no_grad()
def test_a_picture_has_as_many_features_as_tokens_and_each_level_counts(model, reader, sequences, monkeypatch):
    (one, wide) = sequences.prompts[2].pictures
    for shown in (one, wide):
        features = picture_features(model, [shown])[0]
        assert shown.load().shape == (shown.tokens * 4, 3 * 2 * 4**2)  # patches of two equal frames
        assert features.tokens.shape == (shown.tokens, 32)
        assert [level.shape for level in features.deepstack] == [(shown.tokens, 32)]
    assert sequences.prompts[2].count(reader.token) == one.tokens + wide.tokens
    own = score(model, sequences, 4, 1000).logprobs
    original = pictures.picture_features

    def flat(*args):
        return [
            pictures.Features(each.tokens, tuple(map(torch.zeros_like, each.deepstack))) for each in original(*args)
        ]

    monkeypatch.setattr(pictures, "picture_features", flat)
    changed = (score(model, sequences, 4, 1000).logprobs - own).abs().max(dim=1).values
    assert float(changed[[0, 1, 2, 4]].min()) > 0.01
    assert float(changed[3]) == 0  # the row without a picture


def test_gradients_are_those_of_a_plain_forward(model, sequences):
    def gradients(backward):
        model.zero_grad(set_to_none=True)
        backward()
        found = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
        model.zero_grad(set_to_none=True)
        return found

    def plain():
        for row in zip(sequences.prompts, sequences.responses, strict=True):
            plain_logprobs(model, *row).sum().backward()

    def batched():
        for rows in micro_batches(sequences, 60):
            read_responses(model, sequences, rows).logprobs.sum().backward()

    def shared():
        schedule = schedule_prefixes(sequences, 60, fronts=False)
        total = lambda rows, scores: scores.logprobs.sum()  # noqa: E731
        backward_with_prefixes(ModelForwards(model), sequences, schedule, 60, total)

    expected = gradients(plain)
    assert all(name in expected for name, _ in model.named_parameters())
    for found in (gradients(batched), gradients(shared)):
        for name, each in expected.items():
            scale = max(1.0, float(each.abs().max()))
            torch.testing.assert_close(found[name] / scale, each / scale, rtol=0, atol=2e-5, msg=name)


def test_a_picture_is_encoded_once_for_all_that_share_it_and_the_weights(model, sequences, monkeypatch):
    encoded = []
    original = pictures._encoded
    monkeypatch.setattr(pictures, "_encoded", lambda m, shown: encoded.append(len(shown)) or original(m, shown))
    score(model, sequences, 4, 1)
    ModelScorer(model, 1000)(sequences, 4)
    assert encoded == [1, 1, 1]  # three pictures, each alone, whoever asks
    read_responses(model, sequences, range(5))
    assert encoded == [1, 1, 1, 3]  # with gradient, once in the micro-batch
    with torch.no_grad():
        before = picture_features(model, sequences.prompts[0].pictures)[0].tokens
        weights = next(model.model.visual.parameters())
        weights.add_(0.5)
        after = picture_features(model, sequences.prompts[0].pictures)[0].tokens
        weights.sub_(0.5)
    assert not torch.equal(before, after)
    assert encoded == [1, 1, 1, 3, 1]


def test_image_tokens_without_pixels_are_refused(model, reader, sequences):
    prompt = sequences.prompts[0]
    for rows in (Sequences([list(prompt)], [[5]]), Sequences([[1, 2]], [[5, reader.token]])):
        with pytest.raises(UserError, match="no pixels for it"):
            score(model, rows, 2, 100)
        with pytest.raises(UserError, match="no pixels for it"):
            read_responses(model, rows, [0])
        with pytest.raises(UserError, match="no pixels for it"):
            score_with_prefixes(ModelForwards(model), rows, schedule_prefixes(rows, 100), 2, 100)
    with pytest.raises(UserError, match="fewer image tokens"):
        Prompt(prompt[5:], prompt.pictures)
    with pytest.raises(UserError, match="more image tokens"):
        Prompt([*prompt, reader.token, 5], prompt.pictures)


def test_a_model_of_text_alone_is_given_no_pictures(sequences, tokenizer):
    text = build_model(TinyModel(hidden_size=16, mlp_size=16, head_dim=8), tokenizer, 0)
    with pytest.raises(UserError, match="reads none"):
        response_inputs(sequences, [0], text)
    assert banned_ids(text.config) == ()


def test_ids_of_pictures_are_in_no_distribution(model, sequences):
    scores = score(model, sequences, 4, 1000, query=Query(top_k=0))
    banned = torch.tensor(banned_ids(model.config))
    real = scores.support[0, :3]
    assert float(real[:, banned].exp().max()) == 0
    torch.testing.assert_close(real.exp().sum(dim=1), torch.ones(3))
    assert len(banned) == 4


def test_a_prompt_is_expanded_and_collapsed(reader):
    pair = reader.of([picture(1), picture(3, 32, 24)])
    prompt = expanded([5, reader.token, 6, reader.token, 7], pair)
    assert [each.tokens for each in pair] == [9, 12]
    assert vision_tokens(prompt) == 21
    assert prompt == (5, *[reader.token] * 9, 6, *[reader.token] * 12, 7)
    assert collapsed(prompt) == [5, reader.token, 6, reader.token, 7]
    assert collapsed([5, 6]) == [5, 6]
    swapped = expanded([5, reader.token, 6, reader.token, 7], reader.of([picture(2), picture(3, 32, 24)]))
    assert swapped == prompt
    assert keyed(swapped) != keyed(prompt)
    with pytest.raises(UserError, match="wrote 1 image tokens"):
        expanded([5, reader.token, 6], pair)


def test_budgets_know_the_tokens_of_the_vision_tower(reader):
    prompts = [pictured_prompt(reader, picture(n)) for n in range(4)]
    text = [[1] * len(prompts[0])] * 4
    responses = [[5, 6]] * 4
    size = len(prompts[0]) + 2
    assert [len(rows) for rows in micro_batches(Sequences(text, responses), 2 * size)] == [2, 2]
    assert [len(rows) for rows in micro_batches(Sequences(prompts, responses), 2 * size)] == [1] * 4
    assert [len(rows) for rows in micro_batches(Sequences(prompts, responses), 2 * (size + 9))] == [2, 2]


def test_nothing_of_earlier_forwards_moves_the_next(model, sequences):
    """transformers' own count of positions remembers the last forward."""
    before = score(model, sequences, 4, 1000).logprobs
    model.model.rope_deltas = torch.full((1, 1), 17)
    assert torch.equal(score(model, sequences, 4, 1000).logprobs, before)
    model.model.rope_deltas = None
    inputs, _, _ = response_inputs(sequences, [0, 2], model)
    with torch.no_grad():
        forward(model, inputs)
    assert "forward" not in vars(model.model.visual)
