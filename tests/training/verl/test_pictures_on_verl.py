"""Rows with pictures through verl's engine, in one process: the scores and steps of the local trainer."""

import asyncio
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

verl = pytest.importorskip("verl")
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "fakes"))

from in_process import InProcess, InProcessEngine, Options, asking, process_group, weights_of
from omegaconf import OmegaConf
from tiny_vision import picture, pictured_problem, vision_folder
from verl.experimental.agent_loop.agent_loop import DictConfigWrap
from verl.workers.rollout.replica import TokenOutput

from selfdistill.errors import UserError
from selfdistill.methods.catalogue import shipped_entries
from selfdistill.models.chat import encode_messages
from selfdistill.models.loading import load_model, load_tokenizer
from selfdistill.models.pictures import picture_reader
from selfdistill.objectives.methods import build_method
from selfdistill.randomness import generator
from selfdistill.scoring.pictures import banned_ids
from selfdistill.scoring.prompts import Prompt
from selfdistill.scoring.query import Query
from selfdistill.scoring.scorer import score
from selfdistill.scoring.scores import Sequences
from selfdistill.study.run_settings import ChatSettings
from selfdistill.study.training_settings import published_run
from selfdistill.tasks.prompts import student_messages
from selfdistill.tasks.schema import read_problems, write_problems
from selfdistill.training.local.engine import LocalEngine
from selfdistill.training.rollouts import StepRollouts
from selfdistill.training.step import TrainingStep
from selfdistill.training.verl.agent_loop import SingleTurn
from selfdistill.training.verl.dataset import ProblemDataset
from selfdistill.training.verl.drawn import problem_of
from selfdistill.training.verl.export import export
from selfdistill.training.verl.head_engine import SelfDistillEngine
from selfdistill.training.verl.loss import Loss
from selfdistill.training.verl.shared_prompts import SHARED, SHARED_TOKENS
from selfdistill.training.verl.wire import pack_scores_request

pytestmark = pytest.mark.verl

GROUP, RATE = 4, 1e-5


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    with process_group(tmp_path_factory.mktemp("store") / "file"):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return vision_folder(tmp_path_factory.mktemp("vision"))


@pytest.fixture(scope="module")
def case(folder, tmp_path_factory):
    """Model, tokenizer, reader, and rollouts of three problems: one picture, two of unlike sizes, none."""
    model, tokenizer = load_model(folder, torch.device("cpu"))
    reader = picture_reader(folder, model.config, ChatSettings())
    file = tmp_path_factory.mktemp("data") / "train.parquet"
    shown = [(picture(1),), (picture(2, 32, 24), picture(3)), ()]
    questions = ["17 + 4?", "18 + 4?", "19 + 4?"]
    write_problems(file, [pictured_problem(i, *each, question=questions[i]) for i, each in enumerate(shown)])
    problems = [problem for problem in read_problems(file) for _ in range(GROUP)]
    prompts = [
        encode_messages(tokenizer, student_messages(p, training=True), ChatSettings(), reader.of(p.images))
        for p in problems
    ]
    words = [i for i in range(8, len(tokenizer)) if i not in tokenizer.all_special_ids]
    lengths = [5, 3, 8, 5, 1, 6, 6, 4, 7, 2, 5, 3]
    responses = [[int(i) for i in generator("r", n).choice(words, length)] for n, length in enumerate(lengths)]
    return model, tokenizer, reader, problems, prompts, responses


@pytest.fixture(scope="module")
def worker(group, folder):
    return InProcess(Options(budget=200), folder)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("budget", [40, 4000])
def test_scores_are_those_of_the_local_trainer(worker, case, packed, budget):
    model, _, _, _, prompts, responses = case
    sequences = Sequences(prompts, responses)
    expected = score(model, sequences, max(map(len, responses)), 10000, query=Query(entropy=True))
    engine = InProcessEngine(
        worker, Loss("grpo", shipped_entries()["grpo"]["objective"]), published_run("grpo").teacher
    )
    data = pack_scores_request(sequences)
    data = asking(data, use_remove_padding=packed, max_token_len_per_gpu=budget, read_entropy=True, **engine.request)
    reply = worker.score_student(data)
    for row, response in enumerate(responses):
        for name, key in (("logprobs", "log_probs"), ("entropy", "entropy")):
            found = reply[key].unbind()[row]
            torch.testing.assert_close(found, getattr(expected, name)[row, : len(response)], rtol=0, atol=2e-5)


@pytest.mark.parametrize("budget", [60, 4000])
def test_shared_prompts_with_pictures_are_scored_alike(worker, case, budget):
    model, _, _, _, prompts, responses = case
    sequences = Sequences(prompts, responses)
    expected = score(model, sequences, max(map(len, responses)), 10000).logprobs
    engine = InProcessEngine(
        worker, Loss("grpo", shipped_entries()["grpo"]["objective"]), published_run("grpo").teacher
    )
    data = asking(pack_scores_request(sequences), **engine.request, **{SHARED: "padded", SHARED_TOKENS: budget})
    reply = worker.score_student(data)
    for row, response in enumerate(responses):
        found = reply["log_probs"].unbind()[row]
        torch.testing.assert_close(found, expected[row, : len(response)], rtol=0, atol=2e-5)


def test_a_picture_is_encoded_once_in_a_micro_batch_and_named_not_carried(worker, case):
    _, _, _, _, prompts, responses = case
    data = pack_scores_request(Sequences(prompts, responses))
    held = sum(each.numel() for each in data["pictures"].unbind())
    assert held < 2000 * len(prompts)  # characters of references; pixels of the smallest picture are 3,456 numbers
    sizes = []
    hook = worker.student.engine.module.model.visual.register_forward_hook(
        lambda tower, args, output: sizes.append(len(output.last_hidden_state))
    )
    engine = InProcessEngine(
        worker, Loss("grpo", shipped_entries()["grpo"]["objective"]), published_run("grpo").teacher
    )
    worker.score_student(asking(data, max_token_len_per_gpu=10000, **engine.request))
    hook.remove()
    assert sizes == [36 + 48 + 36]


def test_other_pixels_give_other_scores_and_none_are_refused(worker, case):
    _, _, reader, problems, prompts, responses = case
    engine = InProcessEngine(
        worker, Loss("grpo", shipped_entries()["grpo"]["objective"]), published_run("grpo").teacher
    )
    first, second = prompts[0], Prompt(prompts[0], reader.of([problems[GROUP].images[1]]))

    def scored(prompt):
        return engine.ask("student", pack_scores_request(Sequences([prompt], responses[:1])))["log_probs"].values()

    assert float((scored(first) - scored(second)).abs().max()) > 0.01
    with pytest.raises(UserError, match="no pixels for it"):
        scored(list(first))
    with pytest.raises(UserError, match="no pixels for it"):
        engine.ask("student", pack_scores_request(Sequences([prompts[-1]], [[9, reader.token]])))


@pytest.mark.parametrize("frozen", [False, True])
def test_two_steps_of_rlsd_are_the_local_trainers(group, folder, case, frozen, monkeypatch):
    _, tokenizer, reader, problems, prompts, responses = case
    model, _ = load_model(folder, torch.device("cpu"))
    settings = published_run(
        "rlsd",
        rollout={"prompts_per_step": 3, "group_size": GROUP, "old_logprobs": "recompute"},
        optimizer={"learning_rate": RATE, "warmup_steps": 1, "freeze_vision_tower": frozen},
        update={"prompts_per_update": 3},
        teacher={"sync_interval": 1},
        hints={"max_tokens": 60, "mode": "answer_only"},
        guards={"null_contrast_rollouts": 2},
        records={"every": 2, "rollouts": 3},
    )
    monkeypatch.setattr(SelfDistillEngine, "freezes_vision_tower", frozen)
    models = InProcess(Options(learning_rate=RATE, budget=200), folder)
    remote = InProcessEngine(models, Loss("rlsd", settings.objective), settings.teacher)
    local = LocalEngine(
        model,
        build_method("rlsd", settings.objective),
        settings.teacher,
        settings.optimizer,
        micro_batch_tokens=300,
        temperature=1.0,
        keep_initial=False,
    )
    before = {name: weights.detach().clone() for name, weights in model.named_parameters()}
    steps = [TrainingStep(settings, tokenizer, engine, reader) for engine in (local, remote)]
    right = [i % 3 == 0 for i in range(len(problems))]
    sampled = score(model, Sequences(prompts, responses), max(map(len, responses)), 10000).logprobs.numpy()
    rollouts = StepRollouts(
        problems=problems,
        prompts=prompts,
        responses=responses,
        texts=["17 + 4 = 21"] * len(problems),
        answers=["21" if each else "20" for each in right],
        correct=right,
        logprobs=[row[: len(response)] for row, response in zip(sampled, responses, strict=True)],
        truncated=[False] * len(problems),
    )
    for number in (1, 2):
        one, other = (step.run(number, rollouts) for step in steps)
        for name in one:
            if not name.startswith(("timing_s/", "tokens/teacher_forwarded")):
                assert other[name] == pytest.approx(one[name], rel=2e-3, abs=2e-5), (number, name)
        assert one["hints/hinted_share"] > 0
        assert one["guard/null_contrast_abs_max"] < 1e-4
    trained = weights_of(models)
    for name, after in model.named_parameters():
        torch.testing.assert_close(trained[name], after.detach(), rtol=0, atol=3e-6)
        moved = float((after.detach() - before[name]).abs().max())
        assert (moved == 0) == (frozen and "visual" in name), name
    export(models.student.engine.module, models.student.model_config, folder.parent / f"out{frozen}")
    again, _ = load_model(folder.parent / f"out{frozen}", torch.device("cpu"))
    assert torch.equal(again.lm_head.weight, trained["model.language_model.embed_tokens.weight"])


class Processor:
    """Stands in for the processor that verl makes where torchvision is installed."""

    image_processor = SimpleNamespace(patch_size=4)


def dataset_of(folder, file, processor):
    config = {
        "train_files": str(file),
        "val_files": "elsewhere.parquet",
        "train_batch_size": 2,
        "max_prompt_length": 120,
        "max_response_length": 8,
        "apply_chat_template_kwargs": {},
        "filter_overlong_prompts": False,
    }
    tokenizer = load_tokenizer(folder)
    return ProblemDataset(str(file), tokenizer, OmegaConf.create(config), processor)


def test_a_row_names_its_pictures_and_the_agent_loop_shows_them(folder, case):
    model, _, reader, problems, prompts, _ = case
    file = problems[0].images[0].source.file
    with pytest.raises(UserError, match="verl could not make the model's processor"):
        dataset_of(folder, file, None)
    rows = [dataset_of(folder, file, Processor())[i] for i in range(3)]
    json.dumps(rows)  # plain values: what travels to the agent loops holds no pixels
    asked = []

    class Server:
        async def generate(self, **request):
            asked.append(request)
            return TokenOutput(token_ids=[9, 7, 2], log_probs=[-0.5, -0.25, -1.0], stop_reason="completed")

    async def drawn():
        config = {
            "actor_rollout_ref": {"rollout": {"prompt_length": 120, "response_length": 8}},
            "selfdistill": {"seed": 0},
        }
        loop = SingleTurn(
            trainer_config=DictConfigWrap(OmegaConf.create(config)),
            server_manager=Server(),
            tokenizer=load_tokenizer(folder),
            processor=None,
            dataset_cls=ProblemDataset,
            data_config=DictConfigWrap(OmegaConf.create({})),
            hf_model_type="qwen3",
        )
        loop._assert_mm_supported = lambda has_pictures: None  # the processor's part, which wants torchvision
        told = {"global_steps": 1, "session_id": 0, "uid": "a"}
        return [await loop.run({"temperature": 1.0, "logprobs": True}, **row, **told) for row in rows]

    outputs = asyncio.run(drawn())
    for number, (request, output, row) in enumerate(zip(asked, outputs, rows, strict=True)):
        problem, prompt = problems[number * GROUP], prompts[number * GROUP]
        assert output.prompt_ids == list(prompt)
        assert not output.multi_modal_data
        never = dict.fromkeys(banned_ids(model.config), -100.0) if problem.images else None
        assert request["sampling_params"].get("logit_bias") == never
        shown = request["image_data"] or []
        assert [image.tobytes() for image in shown] == [reader.resized(each).tobytes() for each in problem.images]
        found = problem_of({"extra_info": row["extra_info"], "data_source": "cells"})
        assert found.images == problem.images
        assert found.problem == problem.problem
