"""Provides problems as verl's data set (data.custom_cls)."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import ListConfig
from verl.utils.dataset.rl_dataset import RLHFDataset

from selfdistill.errors import UserError
from selfdistill.models.chat import ChatSettings, encode_messages, message_parts, render
from selfdistill.models.loading import load_config
from selfdistill.models.pictures import PictureReader, picture_reader, problem_pictures
from selfdistill.models.template_check import check_prompts
from selfdistill.models.tokenizer_check import read_tokenizer, token_ids
from selfdistill.tasks.pictures import PLACEHOLDER, Picture
from selfdistill.tasks.prompts import Message, student_messages
from selfdistill.tasks.schema import Problem, read_problems


class ProblemDataset(RLHFDataset):
    """Checked problems of the run's parquets, as rows for verl's agent loops.

    The files of data.val_files are for validation, all others for training. Training goes through the problems in file
    order, round and round, as the local trainer does: the length is the least common multiple of problems and batch, so
    that verl, which drops the rest of a last batch, finds none.

    Keys of +data.selfdistill (each may be left out): max_response_tokens, validation_response_tokens (default:
    data.max_response_length), benchmarks (default: every data_source of the file), validation_problems (of each
    benchmark, the first so many; default: all), need_solution (refuse training problems without one; default: no),
    own_prompts (ask with the column `prompt` as it stands; default: no), chat (as a run's: thinking, date, template).

    Rows:
        raw_prompt: the student's chat messages; with pictures their contents are lists of parts, of text and of
            images, which are references (tasks.pictures) to bytes in the file.
        data_source, reward_model {ground_truth}: for the reward.
        extra_info: problem_id, problem, answer, solution, index (inside the data source); of a problem with a chat of
            its own also messages (a list of role and content), of one with pictures images (references).
        index: number of the row; unique in an epoch, and so in a step.
        purpose: "rollout" or "validation".
        max_response_tokens: where the row's responses are cut.

    Raises UserError for files that schema.read_problems refuses, problems that are there twice, benchmarks without
    rows, prompts over data.max_prompt_length, a chat template that template_check.check_prompts refuses, and one that
    verl would fill in otherwise than the library; for pictures where verl has no processor, with which it would go on
    without them, or where its model reads none.
    """

    def _read_files_and_tokenize(self) -> None:
        settings = self.config.get("selfdistill") or {}
        files, training_files, validation_files = map(
            _as_list, (self.original_data_files, self.config.get("train_files"), self.config.get("val_files"))
        )
        if training_files == validation_files:
            raise UserError(
                f"data.train_files and data.val_files are both {', '.join(files)}: validate on other problems"
            )
        self._training = files != validation_files
        needs = self._training and bool(settings.get("need_solution"))
        wanted = {"need_solution": needs, "own_prompts": bool(settings.get("own_prompts"))}
        problems = [problem for file in self.data_files for problem in read_problems(file, **wanted)]
        _refuse_repeats(problems, files)
        if not self._training:
            problems = _of_benchmarks(problems, settings, files)
        if self.max_samples > 0:
            problems = problems[: self.max_samples]
        limit = settings.get("max_response_tokens" if self._training else "validation_response_tokens")
        self._max_response_tokens = limit or self.config.max_response_length
        self._problems, self._chat = problems, ChatSettings(**(settings.get("chat") or {}))
        self._check_prompts()

    def __len__(self) -> int:
        count = len(self._problems)
        return math.lcm(count, self.config.train_batch_size) if self._training else count

    def __getitem__(self, item: int) -> dict[str, Any]:
        if not 0 <= item < len(self):
            raise IndexError(item)
        problem = self._problems[item % len(self._problems)]
        return {
            "raw_prompt": raw_prompt(self._messages(problem), problem.images),
            "data_source": problem.data_source,
            "reward_model": {"ground_truth": problem.answer},
            "extra_info": {
                "problem_id": problem.id,
                "problem": problem.problem,
                "answer": problem.answer,
                "solution": problem.solution,
                "index": problem.index,
                **({"messages": [message._asdict() for message in problem.messages]} if problem.messages else {}),
                **({"images": [picture.reference for picture in problem.images]} if problem.images else {}),
            },
            "index": item,
            "purpose": "rollout" if self._training else "validation",
            "max_response_tokens": self._max_response_tokens,
        }

    def _messages(self, problem: Problem) -> list[Message]:
        return student_messages(problem, training=self._training, template=self._chat.template)

    def _check_prompts(self) -> None:
        if self.tokenizer.name_or_path and (folder := Path(self.tokenizer.name_or_path)).is_dir():
            read_tokenizer(folder, as_others_load_it=True)
        check_prompts(self.tokenizer, self._chat)
        reader = self._picture_reader()
        for problem in self._problems:
            pictures = problem_pictures(problem, reader)
            ids = encode_messages(self.tokenizer, self._messages(problem), self._chat, pictures)
            if len(ids) > self.max_prompt_length:  # verl would cut off its left end
                raise UserError(
                    f"problem {problem.id}: its prompt has {len(ids)} tokens, over data.max_prompt_length = "
                    f"{self.max_prompt_length}; raise the limit or take the problem out of the data"
                )
        # Once is enough: the options are the same for every prompt.
        told = dict(self.apply_chat_template_kwargs)
        asked = self._messages(problem)
        texts = [render(self.tokenizer, asked, self._chat, variables=each) for each in (told, self._chat.variables)]
        if len({tuple(token_ids(self.tokenizer, text)) for text in texts}) > 1:
            raise UserError(
                f"data.apply_chat_template_kwargs {told}: verl's prompts would differ from those of teachers and "
                f"evaluation; leave it out, and set selfdistill.chat (that gives {self._chat.variables})"
            )

    def _picture_reader(self) -> PictureReader | None:
        """None where no problem has pictures. Raises UserError where verl or the model could not show them."""
        if not any(problem.images for problem in self._problems):
            return None
        folder = Path(self.tokenizer.name_or_path)
        if not folder.is_dir():
            raise UserError(
                f"actor_rollout_ref.model.path: {folder}: of a model that reads pictures a local folder is needed; "
                "download it first"
            )
        if self.processor is None:
            raise UserError(
                f"{folder}: the data have pictures, but verl could not make the model's processor (it says why above; "
                "most often torchvision is missing) and would train without them; install it: envs/verl_gpu.lock.txt"
            )
        return picture_reader(folder, load_config(folder), self._chat)


def raw_prompt(messages: Sequence[Message], images: Sequence[Picture]) -> list[dict[str, Any]]:
    """Return a chat as verl's agent loops pass it on: texts, or, with pictures, lists of parts."""
    if not images:
        return [message._asdict() for message in messages]
    chat, left = message_parts(messages), iter(images)
    for message in chat:
        for part in message["content"]:
            if part["type"] == "image":
                part["image"] = next(left).reference
    return chat


def plain_messages(raw: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the roles and texts of a raw prompt, with a PLACEHOLDER for each picture."""

    def text(content: str | Sequence[Mapping[str, Any]]) -> str:
        if isinstance(content, str):
            return content
        return "".join(PLACEHOLDER if part["type"] == "image" else part["text"] for part in content)

    return [(message["role"], text(message["content"])) for message in raw]


def _as_list(files: str | list[str] | ListConfig | None) -> list[str]:
    return [str(file) for file in (files if isinstance(files, list | ListConfig) else [files])]


def _refuse_repeats(problems: list[Problem], files: list[str]) -> None:
    """Ids are unique in a file; several files may share some."""
    repeated = [name for name, count in Counter(p.id for p in problems).items() if count > 1]
    if repeated:
        raise UserError(
            f"{', '.join(files)}: {len(repeated)} problems are in more than one file, among them {repeated[0]}; "
            "give every file a data_source of its own"
        )


def _of_benchmarks(problems: list[Problem], settings: Any, files: list[str]) -> list[Problem]:
    present = list(dict.fromkeys(p.data_source for p in problems))
    benchmarks = list(settings.get("benchmarks") or present)
    if absent := [name for name in benchmarks if name not in present]:
        raise UserError(
            f"{', '.join(files)}: no rows with data_source {', '.join(absent)}; there are {', '.join(present)}. "
            "data.selfdistill.benchmarks must be named as in the file"
        )
    count = settings.get("validation_problems")
    return [p for name in benchmarks for p in [p for p in problems if p.data_source == name][:count]]
