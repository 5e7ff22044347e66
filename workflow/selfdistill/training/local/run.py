"""Runs one training from config to published result, resumable at any point."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.evaluation.evaluate import problems_by_benchmark
from selfdistill.files import write_json
from selfdistill.models.first_day import try_model
from selfdistill.models.loading import cast_weights, load_model, load_weights, pick_device
from selfdistill.models.pictures import picture_reader
from selfdistill.models.template_check import check_prompts
from selfdistill.runs.lifecycle import run_lifecycle, write_run_files
from selfdistill.runs.metrics_log import MetricsLog
from selfdistill.runs.provenance import Clock, build_provenance
from selfdistill.runs.records import StepRecords
from selfdistill.runs.run_file import TRAINING, write_attempt
from selfdistill.runs.state_folder import StateFolder
from selfdistill.study.own_prompts import own_prompts
from selfdistill.study.paths import MODEL, RUN_FILES
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.graders import check_sandbox
from selfdistill.tasks.schema import read_problems
from selfdistill.training.external_models import check_tokens, noted_models
from selfdistill.training.grading import run_graders
from selfdistill.training.inputs import TrainingInputs
from selfdistill.training.local.critic import MakeCritic, critic_of_run
from selfdistill.training.local.trainer import LocalTrainer
from selfdistill.training.progress import progress_line
from selfdistill.training.updates import UpdateWatch

Report = Callable[[str], None]
#: What of its state says that something was saved: patterns of files.
CHECKPOINTS = ("checkpoints/step_*",)


def train(
    config: dict[str, Any],
    *,
    train_file: Path,
    val_file: Path,
    base_model: Path,
    state_dir: Path,
    outputs: dict[str, Path],
    threads: int,
    report: Report,
    external: Mapping[str, Path] | None = None,
) -> None:
    """Train one run, or go on with it, or publish it again if it is complete.

    Args:
        config: the resolved run config (docs/architecture.md).
        train_file, val_file: parquets of the task.
        base_model: folder of the initial weights.
        state_dir: where state lives while the run lasts, keyed by the config's hash.
        outputs: where to publish: config, metrics, provenance, records (files) and model (folder).
        threads: CPU threads; results are bit-exact for equal numbers of threads.
        report: takes one line of progress.
        external: "teacher", "reference" and "critic" -> folder of another model, as the config asks for them.

    Raises:
        UserError: for a config, data or model that cannot be trained on, and for a run whose updates are not finite
            from some step on for good, before anything is written to `outputs`.
    """
    with run_lifecycle(state_dir, outputs, report) as state:
        if state is not None:
            inputs = TrainingInputs.of(train_file, val_file, base_model, external)
            _finish(config, inputs, state, threads, report)


def _finish(config: dict[str, Any], inputs: TrainingInputs, state: StateFolder, threads: int, report: Report) -> None:
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(not torch.cuda.is_available())
    torch.utils.deterministic.fill_uninitialized_memory = False  # a twentieth of a rollout's time; nothing reads it
    settings = TrainingSettings.from_config(config)
    write_attempt(state.path, config, TRAINING, steps=settings.steps)
    noted = noted_models(state.path, inputs.external)
    with critic_of_run(settings, config["grader"], inputs.external, noted, state.path, report) as critic:
        trainer = _build(settings, config, inputs, critic, report)
        _train(settings, trainer, config, inputs, noted, state, report)


def _train(
    settings: TrainingSettings,
    trainer: LocalTrainer,
    config: dict[str, Any],
    inputs: TrainingInputs,
    noted: Mapping[str, Any],
    state: StateFolder,
    report: Report,
) -> None:
    saved = state.load_checkpoint(report)
    log, records = MetricsLog(state.path, saved[1].get("log", "") if saved else ""), StepRecords(state.path)
    done, before, started = 0, 0.0, time.time()
    if saved is not None:
        tensors, facts = saved
        trainer.load_state_dict(tensors)
        done, before, started = facts["step"], facts["wall_seconds"], facts["started"]
        log.check_follows(done)
        report(f"resumed from step {done} in {state.path}")
    else:
        log.write(0, trainer.validate())
    watch, began = UpdateWatch(log.steps(done)), time.monotonic()
    for step in range(done + 1, settings.steps + 1):
        metrics = trainer.step(step)
        if step % settings.validation.every == 0 or step == settings.steps:
            metrics |= trainer.validate()
        if trainer.recorded is not None and step > log.last:
            records.write(step, trainer.recorded)
        log.write(step, metrics)
        report(progress_line(step, settings.steps, metrics, (time.monotonic() - began) / (step - done)))
        watch.see(step, metrics)
        if step % settings.checkpoint.every == 0 and step < settings.steps:
            wall = before + time.monotonic() - began
            facts = {"wall_seconds": wall, "started": started, "log": log.text()}
            state.save_checkpoint(step, trainer.state_dict(), facts)
    log.close()
    watch.finish()
    with state.finishing() as folder:
        trainer.save(folder / MODEL)
        write_run_files(folder, config, state, report)
        clock = Clock(started, time.time(), before + time.monotonic() - began)
        facts = build_provenance(
            config, inputs.with_weights(folder / MODEL), clock, sys.argv, gpus=torch.cuda.is_available()
        )
        write_json(folder / RUN_FILES["provenance"], facts | ({"external_models": noted} if noted else {}))


def _build(
    settings: TrainingSettings,
    config: dict[str, Any],
    inputs: TrainingInputs,
    critic: MakeCritic | None,
    report: Report,
) -> LocalTrainer:
    check_sandbox([config["grader"]], config.get("grading"))
    own = own_prompts(config)
    problems = read_problems(inputs.train_file, need_solution=settings.needs_solutions, own_prompts=own)
    model, tokenizer = load_model(inputs.base_model, pick_device())
    check_prompts(tokenizer, settings.chat, model.generation_config, report)
    try_model(model, report)  # before any cast: half precision would hide what it is tried on
    others = _external(settings, inputs.external, tokenizer, model.device, report)
    if settings.optimizer.master_dtype == "bfloat16":
        if model.device.type == "cpu":
            report("optimizer.master_dtype bfloat16 applies on a GPU only: this run keeps float32")
        else:
            for each in (model, *others.values()):
                cast_weights(each, torch.bfloat16)
    grade, grade_all = run_graders(config, settings)
    validation = problems_by_benchmark(inputs.val_file, config["benchmarks"], own_prompts=own)
    return LocalTrainer(
        settings,
        model,
        tokenizer,
        problems,
        validation,
        grade,
        others,
        grade_all,
        picture_reader(inputs.base_model, model.config, settings.chat),
        critic,
    )


def _external(
    settings: TrainingSettings,
    folders: Mapping[str, Path],
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    report: Report,
) -> dict[str, PreTrainedModel]:
    """Other models beside the student, frozen. Raises UserError where one is missing, or has other tokens."""
    settings.teacher.check_model()
    named = settings.teacher.models | settings.critic.models
    if missing := sorted(named.keys() - folders.keys()):
        raise UserError(
            f"run config: a model is named as {missing[0]} ({named[missing[0]]}), but no folder of it was given"
        )
    found = {}
    for role in settings.teacher.models:
        check_tokens(role, folders[role], tokenizer)
        found[role] = load_weights(folders[role], device).requires_grad_(False)
        try_model(found[role], report)
    return found
