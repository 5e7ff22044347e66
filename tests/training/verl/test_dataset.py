"""Rows as verl reads them: through its own factory, collation, TensorDict and tokenisation."""

from dataclasses import replace

import numpy as np
import pytest

verl = pytest.importorskip("verl")
pytestmark = pytest.mark.verl

from omegaconf import OmegaConf

from selfdistill.errors import UserError
from selfdistill.models.chat import encode_chat, encode_messages
from selfdistill.tasks.prompts import Message, student_prompt
from selfdistill.tasks.schema import Problem, read_problems, write_problems

ROWS = {"train": 10, "chain-1": 4, "chain-2": 3}


def problem(source, index, solution="2 + 3 = 5"):
    split = "train" if source == "train" else "val"
    return Problem(
        f"{source}/{index}", source, f"Start with {index}, then add 3", str(index + 3), solution, "math", index, split
    )


@pytest.fixture
def files(tmp_path):
    write_problems(tmp_path / "train.parquet", [problem("train", i) for i in range(10)])
    write_problems(
        tmp_path / "val.parquet", [problem(name, i) for name in ("chain-1", "chain-2") for i in range(ROWS[name])]
    )
    return tmp_path


@pytest.fixture
def make(files, tokenizer):
    def build(is_train, own=(), max_samples=-1, **changes):
        from verl.trainer.ppo.utils import create_rl_dataset

        config = {
            "train_files": str(files / "train.parquet"),
            "val_files": str(files / "val.parquet"),
            "train_batch_size": 4,
            "max_prompt_length": 64,
            "max_response_length": 32,
            "apply_chat_template_kwargs": {"enable_thinking": True},
            "filter_overlong_prompts": False,
            "custom_cls": {"path": "pkg://selfdistill.training.verl.dataset", "name": "ProblemDataset"},
            "selfdistill": {
                "max_response_tokens": 20,
                "validation_response_tokens": 32,
                "validation_problems": 2,
                "benchmarks": ["chain-2", "chain-1"],
                "need_solution": True,
                **dict(own),
            },
        } | changes
        config = OmegaConf.create(config)
        paths = config.train_files if is_train else config.val_files
        return create_rl_dataset(paths, config, tokenizer, None, is_train=is_train, max_samples=max_samples)

    return build


def tokenised_by_verl(tokenizer, row, **template):
    from verl.utils.tokenizer.continuous_token_wiring import create_continuous_token_builder

    builder = create_continuous_token_builder(tokenizer, hf_model_type="qwen3", chat_template_kwargs=template)
    return builder.build_initial_tokens(list(row["raw_prompt"]))


def ids(dataset, rows=None):
    return [dataset[i]["extra_info"]["problem_id"] for i in range(rows or len(dataset))]


def test_training_goes_through_the_file_round_and_round(make):
    dataset = make(is_train=True)
    assert len(dataset) == 20  # the least that both 10 problems and batches of 4 divide
    assert ids(dataset) == [f"train/{i}" for i in range(10)] * 2
    assert [dataset[i]["index"] for i in range(20)] == list(range(20))
    assert len(make(is_train=True, train_batch_size=16)) == 80  # a batch may be larger than the file
    assert len(make(is_train=True, max_samples=4)) == 4


def test_a_row_has_what_reward_agent_loop_and_trainer_read(make, files):
    row, [expected] = make(is_train=True)[13], [p for p in read_problems(files / "train.parquet") if p.index == 3]
    assert row == {
        "raw_prompt": [{"role": "user", "content": student_prompt(expected.problem, training=True)}],
        "data_source": "train",
        "reward_model": {"ground_truth": "6"},
        "extra_info": {
            "problem_id": "train/3",
            "problem": "Start with 3, then add 3",
            "answer": "6",
            "solution": "2 + 3 = 5",
            "index": 3,
        },
        "index": 13,
        "purpose": "rollout",
        "max_response_tokens": 20,
    }


def test_rows_are_asked_in_the_words_of_the_runs_own_template(make):
    for is_train, number in ((True, 13), (False, 0)):
        row = make(is_train=is_train, selfdistill={"chat": {"template": "modulo {problem} 10"}})[number]
        expected = f"modulo {row['extra_info']['problem']} 10"
        assert [message["content"] for message in row["raw_prompt"]] == [expected]


def test_validation_takes_the_first_problems_of_each_benchmark_in_the_order_asked_for(make):
    dataset = make(is_train=False)
    assert ids(dataset) == ["chain-2/0", "chain-2/1", "chain-1/0", "chain-1/1"]
    assert {(row["purpose"], row["max_response_tokens"]) for row in dataset} == {("validation", 32)}
    assert dataset[0]["raw_prompt"][0]["content"] == student_prompt("Start with 0, then add 3", training=False)


def test_without_settings_of_ours_the_whole_file_and_verls_limit_hold(make):
    everything = {"selfdistill": None, "max_response_length": 17}
    dataset = make(is_train=False, **everything)
    assert len(dataset) == 7
    assert {row["max_response_tokens"] for row in dataset} == {17}
    assert make(is_train=True, **everything)[0]["max_response_tokens"] == 17


@pytest.mark.parametrize("is_train", [True, False])
def test_verl_tokenises_as_the_library_does(make, tokenizer, is_train):
    for row in make(is_train=is_train):
        ours = encode_chat(tokenizer, row["raw_prompt"][0]["content"])
        assert tokenised_by_verl(tokenizer, row, enable_thinking=True) == ours


def test_rows_survive_verls_way_to_the_agent_loop(make):
    """Collated, made a TensorDict, cut for the workers and taken apart again."""
    from tensordict import NonTensorStack
    from verl.utils import tensordict_utils as tu
    from verl.utils.dataset.rl_dataset import collate_fn

    dataset = make(is_train=True)
    batch = collate_fn([dataset[i] for i in range(4)])
    batch["uid"] = np.array(list("abcd"), dtype=object)
    parts = tu.get_tensordict(batch).chunk(2)
    assert [len(part) for part in parts] == [2, 2]
    for number, part in enumerate(parts):
        for i in range(2):
            values = {key: value[i].data for key, value in part.items() if isinstance(value, NonTensorStack)}
            assert values.pop("uid") == "abcd"[2 * number + i]
            assert values == dataset[2 * number + i]


def test_problems_are_asked_with_their_own_chats_where_that_is_wanted(make, files, tokenizer):
    chat = (Message("system", "Start with 1"), Message("user", "then add 3"))
    write_problems(files / "train.parquet", [replace(problem("train", 0), messages=chat)])
    row = make(is_train=True, own={"own_prompts": True})[0]
    assert row["raw_prompt"] == row["extra_info"]["messages"] == [message._asdict() for message in chat]
    assert tokenised_by_verl(tokenizer, row, enable_thinking=True) == encode_messages(tokenizer, chat)
    assert [message["role"] for message in make(is_train=True)[0]["raw_prompt"]] == ["user"]


def test_a_prompt_over_the_limit_is_refused(make, tokenizer):
    longest = max(len(encode_chat(tokenizer, row["raw_prompt"][0]["content"])) for row in make(is_train=True))
    make(is_train=True, max_prompt_length=longest)
    with pytest.raises(UserError, match=rf"train/\d: its prompt has {longest} tokens, over data.max_prompt_length"):
        make(is_train=True, max_prompt_length=longest - 1)


def test_the_schemas_checks_hold(make, files):
    write_problems(files / "train.parquet", [problem("train", 0), problem("train", 1, solution="")])
    with pytest.raises(UserError, match=r"solution.*row 1"):
        make(is_train=True)
    assert len(make(is_train=True, own={"need_solution": False})) == 4
    (files / "train.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="not a readable parquet"):
        make(is_train=True)


def test_one_file_for_both_is_refused(make, files):
    with pytest.raises(UserError, match=r"both .*train\.parquet"):
        make(is_train=False, val_files=str(files / "train.parquet"))


def test_several_files_are_one_data_set_of_distinct_problems(make, files):
    paths = [str(files / name) for name in ("train.parquet", "more.parquet")]
    write_problems(paths[1], [problem("other", 0), problem("other", 1)])
    assert ids(make(is_train=True, train_files=paths), 12) == [f"train/{i}" for i in range(10)] + ["other/0", "other/1"]
    write_problems(paths[1], [problem("train", 4)])
    with pytest.raises(UserError, match=r"1 problems are in more than one file, among them train/4"):
        make(is_train=True, train_files=paths)


def test_an_unknown_benchmark_is_refused(make):
    with pytest.raises(UserError, match="no rows with data_source chain-9; there are chain-1, chain-2"):
        make(is_train=False, own={"benchmarks": ["chain-1", "chain-9"]})


def test_a_chat_template_filled_in_otherwise_is_refused(make, tokenizer, monkeypatch):
    thinking = "{% if enable_thinking %}={% endif %}"
    monkeypatch.setattr(tokenizer, "chat_template", tokenizer.chat_template + thinking)
    make(is_train=True)
    with pytest.raises(UserError, match=r"apply_chat_template_kwargs \{\}.*set selfdistill\.chat"):
        make(is_train=True, apply_chat_template_kwargs={})
    with pytest.raises(UserError, match=r"apply_chat_template_kwargs .*set selfdistill\.chat"):
        make(is_train=True, own={"chat": {"thinking": False}})


def test_a_chat_template_without_the_question_is_refused(make, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", "<|im_start|>user\n<|im_end|>")
    with pytest.raises(UserError, match="leaves out the user's message"):
        make(is_train=True)
