"""What the agent loop asks of the inference server, and what it makes of the answer."""

import asyncio
from pathlib import Path

import pytest

verl = pytest.importorskip("verl")
pytestmark = pytest.mark.verl

from omegaconf import OmegaConf

from selfdistill.models.chat import encode_chat
from selfdistill.models.tiny_model import build_tokenizer
from selfdistill.randomness import seed_of
from selfdistill.training.verl import agent_loop
from selfdistill.training.verl.reward import TRUNCATED

SAMPLING = {"temperature": 1.0, "top_p": 0.95, "top_k": 20, "repetition_penalty": 1.0, "logprobs": True}
ROW = {
    "raw_prompt": [{"role": "user", "content": "Start with 3, then add 4"}],
    "extra_info": {"problem_id": "train/3"},
    "index": 13,
    "purpose": "rollout",
    "max_response_tokens": 20,
    "global_steps": 7,
    "session_id": 2,
    "uid": "a",
}


class Server:
    """An inference server that answers 5, 6, end and remembers what it was asked."""

    ids = (5, 6, 2)

    def __init__(self):
        self.asked = []

    async def generate(self, **request):
        from verl.workers.rollout.replica import TokenOutput

        self.asked.append(request)
        return TokenOutput(token_ids=list(self.ids), log_probs=[-0.5, -0.25, -1.0], stop_reason="completed")


@pytest.fixture
def ask(tokenizer):
    """One run of the loop, built as verl builds it from agent_loops.yaml: the request and the output."""
    from hydra.utils import instantiate
    from verl.experimental.agent_loop.agent_loop import DictConfigWrap
    from verl.utils.dataset.rl_dataset import RLHFDataset

    def run(row=None, seed=0, chat=None, tokenizer=tokenizer):
        rollout = {"prompt_length": 64, "response_length": 32}
        config = OmegaConf.create(
            {"actor_rollout_ref": {"rollout": rollout}, "selfdistill": {"seed": seed, "chat": chat or {}}}
        )
        data = OmegaConf.create({"apply_chat_template_kwargs": {"enable_thinking": True}})
        [entry] = OmegaConf.load(Path(agent_loop.__file__).with_name("agent_loops.yaml"))
        assert entry.name == "selfdistill"
        server = Server()

        async def once():
            loop = instantiate(
                entry,
                trainer_config=DictConfigWrap(config),
                server_manager=server,
                tokenizer=tokenizer,
                processor=None,
                dataset_cls=RLHFDataset,
                data_config=DictConfigWrap(data),
                hf_model_type="qwen3",
            )
            return await loop.run(SAMPLING, **{**ROW, **(row or {})})

        output = asyncio.run(once())
        [request] = server.asked
        return request, output

    return run


def test_the_request_has_the_prompt_the_rows_limit_and_its_seed(ask, tokenizer):
    request, output = ask()
    assert request["prompt_ids"] == encode_chat(tokenizer, "Start with 3, then add 4")
    seed = seed_of(0, "rollout", 7, 13, 2)
    assert request["sampling_params"] == {**SAMPLING, "max_tokens": 20, "seed": seed}
    assert SAMPLING.keys().isdisjoint({"max_tokens", "seed"})  # shared by all sessions of a prompt
    assert output.prompt_ids == request["prompt_ids"]
    assert output.response_ids == [5, 6, 2]
    assert output.response_mask == [1, 1, 1]
    assert output.response_logprobs == [-0.5, -0.25, -1.0]
    assert output.extra_fields[TRUNCATED] is False


def test_the_reward_is_told_of_a_response_that_was_cut(ask, tokenizer, monkeypatch):
    found = {}
    for last in (tokenizer.eos_token_id, 7):
        monkeypatch.setattr(Server, "ids", [5, 6, last])
        found[last] = [ask({"max_response_tokens": most})[1].extra_fields[TRUNCATED] for most in (3, 4)]
    assert list(found.values()) == [[False, False], [True, False]]


def test_the_prompt_tells_the_runs_date_and_ends_with_its_turn(ask):
    """verl's own rendering would tell the clock, and its servers know the ends that the folder names alone."""
    dated = build_tokenizer()
    dated.eos_token = dated.pad_token
    dated.chat_template += "{{ strftime_now('%Y') }}"
    request, _ = ask(chat={"date": "2019-08-07"}, tokenizer=dated)
    assert dated.decode(request["prompt_ids"]).endswith("2019")
    assert request["sampling_params"]["stop_token_ids"] == [dated.convert_tokens_to_ids("<|im_end|>")]


def seeds(ask, row, seed=0):
    return ask(row, seed)[0]["sampling_params"]["seed"]


def test_rollouts_have_seeds_of_their_own(ask):
    base = seeds(ask, {})
    assert seeds(ask, {"uid": "another run's", "extra_info": {"problem_id": "train/4"}}) == base
    others = [{"global_steps": 8}, {"index": 14}, {"session_id": 3}, {"purpose": "validation"}]
    drawn = [base, *(seeds(ask, other) for other in others), seeds(ask, {}, seed=1)]
    assert len(set(drawn)) == len(drawn)


def test_validation_draws_alike_at_every_step(ask):
    row = {"purpose": "validation"}
    base = seeds(ask, row)
    assert base == seed_of(0, "validation", "train/3", 2)
    assert seeds(ask, {**row, "global_steps": 8, "index": 14}) == base
    assert seeds(ask, {**row, "session_id": 3}) != base
    assert seeds(ask, {**row, "extra_info": {"problem_id": "train/4"}}) != base
