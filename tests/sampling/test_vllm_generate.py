"""vLLM in a process of its own (it binds the whole process to cores and a process group), asked once for everything."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from selfdistill.errors import UserError
from selfdistill.sampling import vllm_generate
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import SamplingSettings

LIMIT = 16
PROMPTS = [np.random.default_rng(i).integers(4, 73, size=size).tolist() for i, size in enumerate([5, 11, 3, 8, 8])]
KEYS = [("vllm test", i) for i in range(len(PROMPTS))]
GREEDY, SAMPLED, FILTERED = (LIMIT, 0.0), (LIMIT, 1.0), (LIMIT, 0.6, 0.9, 20)
REVERSED = slice(None, None, -1)
#: settings and the part of the prompts that each request is about
REQUESTS = {
    "greedy": (GREEDY, slice(None)),
    "sampled": (SAMPLED, slice(None)),
    "sampled in reverse": (SAMPLED, REVERSED),
    "filtered": (FILTERED, slice(None)),
    "likeliest by top_k": ((LIMIT, 1.0, 1.0, 1), slice(None)),
    "likeliest by top_p": ((LIMIT, 1.0, 1e-6), slice(None)),
}

PROGRAM = """
import json, sys
from selfdistill.errors import UserError
from selfdistill.sampling import vllm_generate
from selfdistill.sampling.interface import SamplingSettings
from selfdistill.models.loading import load_tokenizer

asked = json.load(open(sys.argv[1]))
tokenizer = load_tokenizer(asked["folder"])
answer = {"refused": {}}
sampler = vllm_generate.VllmGenerate(asked["folder"], tokenizer, asked["max_tokens"])
answer["description"] = sampler.description
for name, (settings, prompts, keys) in asked["requests"].items():
    rollouts = sampler.sample(prompts, SamplingSettings(*settings), [tuple(key) for key in keys])
    answer[name] = [[r.response_ids, r.logprobs.tolist(), r.entropies.tolist(), r.finish_reason] for r in rollouts]
for what, cache in (("positions", 1 << 30), ("memory", 1 << 16)):
    vllm_generate._CPU_CACHE_BYTES = cache
    try:
        vllm_generate.VllmGenerate(asked["folder"], tokenizer, 4000 if what == "positions" else 1000)
    except UserError as error:
        answer["refused"][what] = str(error)
json.dump(answer, open(sys.argv[2], "w"))
"""


@pytest.fixture(scope="module")
def ends(model, tokenizer):
    """Ids at which some greedy responses end early: the tokenizer's, and others by a generation_config.json."""
    free = DecodeLoop(model, 0, [tokenizer.eos_token_id]).sample(PROMPTS, SamplingSettings(*GREEDY), KEYS)
    return sorted({tokenizer.eos_token_id, free[0].response_ids[4], free[2].response_ids[9]})


@pytest.fixture(scope="module")
def answer(model, tokenizer, ends, tmp_path_factory):
    pytest.importorskip("vllm")
    folder = tmp_path_factory.mktemp("vllm")
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    recommended = {"eos_token_id": ends, "repetition_penalty": 5.0, "top_k": 2, "do_sample": True}
    (folder / "model" / "generation_config.json").write_text(json.dumps(recommended))
    requests = {name: (settings, PROMPTS[part], KEYS[part]) for name, (settings, part) in REQUESTS.items()}
    asked = {"folder": str(folder / "model"), "max_tokens": 11 + LIMIT, "requests": requests}
    (folder / "asked.json").write_text(json.dumps(asked))
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, folder / "program.py", folder / "asked.json", folder / "answer.json"]
    done = subprocess.run(command, timeout=900, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((folder / "answer.json").read_text())


def ids(rollouts):
    return [rollout[0] for rollout in rollouts]


@pytest.mark.verl
def test_greedy_responses_are_those_of_the_own_loop_token_by_token(answer, model, ends):
    own = DecodeLoop(model, 0, ends).sample(PROMPTS, SamplingSettings(*GREEDY), KEYS)
    assert ids(answer["greedy"]) == [r.response_ids for r in own]
    assert [r[3] for r in answer["greedy"]] == [r.finish_reason for r in own]
    assert {r.finish_reason for r in own} == {"stop", "length"}
    for (_, logprobs, entropies, _), expected in zip(answer["greedy"], own, strict=True):
        np.testing.assert_allclose(logprobs, expected.logprobs, rtol=0, atol=1e-4)
        assert np.isnan(entropies).all()


@pytest.mark.verl
def test_sampled_logprobs_are_of_the_full_distribution(answer, model, plain_scores):
    for prompt, (response, logprobs, _, _) in zip(PROMPTS, answer["sampled"], strict=True):
        with torch.no_grad():
            expected, _ = plain_scores(model, prompt, response)
        np.testing.assert_allclose(logprobs, expected, rtol=0, atol=1e-4)
    assert ids(answer["sampled"]) != ids(answer["greedy"])


@pytest.mark.verl
def test_logprobs_that_vllm_cannot_give_are_missing(answer):
    for response, logprobs, *_ in answer["filtered"]:
        assert len(logprobs) == len(response)
        assert np.isnan(logprobs).all()


@pytest.mark.verl
def test_a_draw_depends_on_its_key_alone(answer):
    assert ids(answer["sampled in reverse"])[REVERSED] == ids(answer["sampled"])
    assert len(set(map(tuple, ids(answer["sampled"])))) == len(PROMPTS)


@pytest.mark.verl
def test_filters_hold(answer):
    assert ids(answer["likeliest by top_k"]) == ids(answer["greedy"])
    assert ids(answer["likeliest by top_p"]) == ids(answer["greedy"])


@pytest.mark.verl
def test_what_does_not_fit_is_refused(answer):
    assert "for 4000 tokens" in answer["refused"]["positions"]
    assert "2048" in answer["refused"]["positions"]
    assert "KV cache" in answer["refused"]["memory"]


@pytest.mark.verl
def test_the_description_names_version_precision_and_device(answer):
    version, _, rest = answer["description"].removeprefix("vllm ").partition(" ")
    assert version[0].isdigit()
    assert rest.endswith(("float32 on cpu", "bfloat16 on cuda"))


def test_without_vllm_the_message_says_so(monkeypatch, tmp_path, tokenizer):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UserError, match="cannot import vllm"):
        vllm_generate.VllmGenerate(tmp_path, tokenizer, 100)
