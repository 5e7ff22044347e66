"""Runs one job of a search: its share of the questions, resumed where it stopped, published as attempts."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from selfdistill.evaluation.attempts import write_attempts
from selfdistill.evaluation.evaluate import sampler_of
from selfdistill.files import sha256_file, write_json
from selfdistill.models.loading import cast_weights, load_model, load_tokenizer, pick_device
from selfdistill.models.template_check import check_prompts
from selfdistill.runs.folder_lock import folder_lock
from selfdistill.runs.run_file import PROGRESS_FILE, SEARCH, write_attempt
from selfdistill.runs.state_folder import StateFolder
from selfdistill.sampling.interface import Sampler, SamplingSettings
from selfdistill.study.discovery import BEST_OF, SELF_DISTILLATION, parts_of
from selfdistill.study.matrix import BASE
from selfdistill.study.paths import PUBLISHED_FILE
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.graders import check_sandbox
from selfdistill.tasks.schema import Problem
from selfdistill.training.discovery.best_of import BestOf
from selfdistill.training.discovery.examiner import Examiner
from selfdistill.training.discovery.journal import Journal
from selfdistill.training.discovery.multi_turn import MultiTurn
from selfdistill.training.discovery.questions import Question, picked, read_questions
from selfdistill.training.discovery.search import Search, search_all
from selfdistill.training.discovery.self_distillation import SelfDistillation
from selfdistill.training.discovery.speaker import Speaker
from selfdistill.training.discovery.verl_search import VerlSelfDistillation
from selfdistill.training.inputs import TrainingInputs
from selfdistill.training.local.trainer import LocalTrainer
from selfdistill.training.verl.run import Machine, run_verl

Report = Callable[[str], None]
#: What of its state says that something was saved: patterns of files.
CHECKPOINTS = ("attempts.jsonl", "questions/*/checkpoints/latest_checkpointed_iteration.txt")
#: Rows of the untrained model's draws that are drawn together.
_TOGETHER = 128


def draw_base(
    settings: Mapping[str, Any],
    *,
    train_file: Path,
    val_file: Path,
    base_model: Path,
    state_dir: Path,
    output: Path,
    part: int,
    report: Report,
) -> None:
    """Draw the untrained model's answers to every question, or go on with it.

    Args:
        settings: as `Discoveries.of_base` has them.
        train_file, val_file: parquets of the task.
        base_model: folder of the weights.
        state_dir: where attempts lie until all are there.
        output: parquet to publish.
        part: which share of the questions this job has.
        report: takes one line of progress.

    Raises:
        UserError: for data, model or settings that cannot be had.
    """
    questions = _share(
        picked(
            read_questions(train_file, val_file, settings["run"], settings["listed"]),
            settings["listed"],
            str(train_file),
        ),
        part,
        settings["parts"],
    )
    with folder_lock(Path(state_dir), report, "at work on these draws"):
        job = _Job(settings, Path(base_model), StateFolder(Path(state_dir)), report)
        job.begin(BASE, questions, settings["draws"], part)
        if questions:
            purpose = {"seed": 0, "purpose": "draws of the untrained model"}
            search = job.best_of(questions, batch=max(1, _TOGETHER // len(questions)), **purpose)
            job.search(search, questions, budget=settings["draws"], stops=False)
        job.publish(questions, Path(output))


def discover(
    settings: Mapping[str, Any],
    *,
    train_file: Path,
    val_file: Path,
    base_model: Path,
    questions_file: Path,
    state_dir: Path,
    output: Path,
    part: int,
    report: Report,
    gpus: int = 0,
    threads: int = 1,
) -> None:
    """Search for answers to a share of the chosen questions, or go on with it.

    Args:
        settings: as `Discoveries.of` has them.
        train_file, val_file: parquets of the task.
        base_model: folder of the weights that it begins with.
        questions_file: which questions were chosen (`questions.choose_questions`).
        state_dir: where attempts and checkpoints lie until all are there.
        output: parquet to publish.
        part: which share of the questions this job has.
        report: takes one line of progress.
        gpus, threads: that verl has, where the run's trainer is verl.

    Raises:
        UserError: for data, model or settings that cannot be had.
    """
    chosen = pd.read_csv(questions_file)["index"].tolist()
    every = picked(read_questions(train_file, val_file, settings["run"], chosen), chosen, str(questions_file))
    questions = _share(every, part, settings["parts"])
    with folder_lock(Path(state_dir), report, "searching these questions"):
        job = _Job(settings, Path(base_model), StateFolder(Path(state_dir)), report)
        job.begin(settings["search"], questions, settings["budget"], part)
        if questions:
            search = job.make(settings["search"], questions, Path(val_file), Machine(threads, gpus, nodes=1))
            job.search(search, questions, budget=settings["budget"], stops=True)
        job.publish(questions, Path(output))


def _share(questions: Sequence[Question], part: int, parts: int) -> list[Question]:
    return [questions[place] for place in parts_of(len(questions), part, parts)]


class _Job:
    """Holds what is done under the lock of a state."""

    def __init__(self, settings: Mapping[str, Any], base_model: Path, state: StateFolder, report: Report):
        self._settings, self._folder, self._state, self._report = settings, base_model, state, report
        self._training = TrainingSettings.from_config(settings["run"])
        self._journal = Journal(state.path, report)

    def begin(self, search: str, questions: Sequence[Question], budget: int, part: int) -> None:
        """Say whose state this is, and what there is to do."""
        amount: dict[str, Any] = {"questions": len(questions), "budget": budget}
        if self._settings["parts"] > 1:
            amount["part"] = part
        write_attempt(self._state.path, {**self._settings["run"], "variant": search}, SEARCH, **amount)

    def make(self, search: str, questions: Sequence[Question], val_file: Path, machine: Machine) -> Search:
        """Return the search of that name.

        Args:
            search: the name.
            questions: what will be asked.
            val_file, machine: what verl is to run with, where it trains.
        """
        seed = self._training.seed
        if search == SELF_DISTILLATION:
            if self._settings["run"]["trainer"] == "verl":
                return self._through_verl(val_file, machine)
            return self._self_distillation(seed)
        if search == BEST_OF:
            return self.best_of(questions, batch=self._settings["batch"], seed=seed)
        about = self._settings["multi_turn"]
        sampler, speaker, examiner = self._untrained(questions, about["window"])
        how = {"seed": seed, "shape": about["shape"], "window": about["window"]}
        return MultiTurn(sampler, self._sampling, speaker, examiner, **how)

    def best_of(self, questions: Sequence[Question], **how: Any) -> BestOf:
        """Return draws of the model as it is."""
        sampler, speaker, examiner = self._untrained(questions)
        return BestOf(sampler, self._sampling, speaker, examiner, **how)

    def search(self, search: Search, questions: Sequence[Question], *, budget: int, stops: bool) -> None:
        """Make the attempts that are not made yet."""
        note = functools.partial(write_json, self._state.path / PROGRESS_FILE)
        search_all(search, questions, self._journal, budget=budget, stops=stops, report=self._report, note=note)

    def publish(self, questions: Sequence[Question], output: Path) -> None:
        """Write the attempts at these questions, in their order."""
        write_attempts(output, [attempt for each in questions for attempt in self._journal.of(each.id)])
        write_json(self._state.path / PUBLISHED_FILE, {"sha256": sha256_file(output)})
        self._state.drop_checkpoints()

    @property
    def _sampling(self) -> SamplingSettings:
        return SamplingSettings.of(self._training.rollout)

    def _untrained(self, questions: Sequence[Question], window: int = 0) -> tuple[Sampler, Speaker, Examiner]:
        run, chat = self._settings["run"], self._training.chat
        check_sandbox([run["grader"]], run.get("grading"))
        tokenizer = load_tokenizer(self._folder)
        speaker = Speaker(tokenizer, chat)
        # A question may be longer than the window, and then stands alone.
        prompt = max(window, *(len(speaker.ids(speaker.asked(question))) for question in questions))
        longest = prompt + self._training.rollout.max_response_tokens
        sampler, engine = sampler_of(self._settings["engine"], self._folder, tokenizer, longest, chat)
        self._report(f"engine {engine}")
        return sampler, speaker, Examiner(run, self._training, _decoder(tokenizer))

    def _through_verl(self, val_file: Path, machine: Machine) -> VerlSelfDistillation:
        run, report = self._settings["run"], self._report
        check_sandbox([run["grader"]], run.get("grading"))

        def process(config: Mapping[str, Any], question: Path, state: Path) -> None:
            run_verl(config, TrainingInputs.of(question, val_file, self._folder), machine, state, report, search=True)

        examiner = Examiner(run, self._training, _decoder(load_tokenizer(self._folder)))
        how = {"budget": self._settings["budget"], "checkpoint_every": self._settings["checkpoint_every"]}
        return VerlSelfDistillation(run, self._training, examiner, self._state.path, process, **how)

    def _self_distillation(self, seed: int) -> SelfDistillation:
        run, training = self._settings["run"], self._training
        check_sandbox([run["grader"]], run.get("grading"))
        torch.use_deterministic_algorithms(not torch.cuda.is_available())
        torch.utils.deterministic.fill_uninitialized_memory = False
        examiner = Examiner(run, training, _decoder(load_tokenizer(self._folder)))

        def trainer(problem: Problem, own_seed: int) -> LocalTrainer:
            model, tokenizer = load_model(self._folder, pick_device())
            check_prompts(tokenizer, training.chat, model.generation_config, self._report)
            if training.optimizer.master_dtype == "bfloat16" and model.device.type != "cpu":
                cast_weights(model, torch.bfloat16)
            own = TrainingSettings.from_config({**run, "seed": own_seed})
            return LocalTrainer(own, model, tokenizer, [problem], {}, examiner.grade, None, examiner.grade_all)

        every = self._settings["checkpoint_every"]
        how = {"seed": seed, "checkpoint_every": every, "report": self._report}
        return SelfDistillation(trainer, training, examiner, self._state, **how)


def _decoder(tokenizer: Any) -> Callable[[list[int]], str]:
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=True)
