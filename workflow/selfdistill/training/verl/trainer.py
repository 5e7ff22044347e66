"""Drives verl's workers, rollouts, weight synchronisation and checkpoints, with our training step."""

import json
import os
import shutil
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import ray
import transfer_queue as tq
from omegaconf import DictConfig, OmegaConf, open_dict
from verl.experimental.agent_loop import AgentLoopManager
from verl.trainer.ppo.v1 import PPOTrainerSync, register_trainer
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.dataset.rl_dataset import collate_fn
from verl.utils.tracking import Tracking

from selfdistill.critics.step_critiques import CritiquedSteps
from selfdistill.errors import UserError
from selfdistill.evaluation.draws import Draw, write_draws
from selfdistill.files import sync
from selfdistill.models.chat import end_ids_of
from selfdistill.models.first_day import check_lengths
from selfdistill.models.pictures import picture_reader
from selfdistill.runs.metrics_log import MetricsLog
from selfdistill.runs.records import StepRecords
from selfdistill.scoring.lengths import vocabulary_size
from selfdistill.signals.teachers import TeacherSchedule
from selfdistill.training.external_models import noted_models
from selfdistill.training.progress import progress_line
from selfdistill.training.rollouts import StepRollouts
from selfdistill.training.step import TrainingStep
from selfdistill.training.updates import UpdateWatch
from selfdistill.training.verl.critic import critic_of_driver
from selfdistill.training.verl.drawn import FIELDS, answer_of, problem_of, rollouts_of, rows_of_fields
from selfdistill.training.verl.loss import Loss
from selfdistill.training.verl.ray_engine import RayEngine
from selfdistill.training.verl.rollouts import ImpatientBuffer
from selfdistill.training.verl.search_rounds import RoundsFile
from selfdistill.training.verl.settings import VerlSettings
from selfdistill.training.verl.watchdog import Watchdog
from selfdistill.training.verl.worker import SelfDistillWorker

_OURS = "selfdistill.json"  # in each checkpoint's folder


@register_trainer("selfdistill")
class SelfDistillTrainer(PPOTrainerSync):
    """Synchronous training on one pool of GPUs. Losses, advantages and signals are ours; verl's are not consulted."""

    #: Of a search at test time: where its rounds are written down.
    _rounds: RoundsFile | None = None

    def __init__(self, config: DictConfig):
        """Raises UserError for settings that this trainer does not offer."""
        self._settings = VerlSettings.from_hydra(config)
        with open_dict(config):
            # Every other name selects verl's asynchronous buffer and data loading.
            config.trainer.v1.trainer_mode = "sync"
        super().__init__(config)

    # -------------------------------------------------------------------------------------------------- what verl calls

    def _build_replay_buffer(self) -> ImpatientBuffer:
        return ImpatientBuffer(self._settings.stall_seconds)

    def _init_resource_pool_mgr(self) -> None:
        super()._init_resource_pool_mgr()
        self.role_worker_mapping = {role: ray.remote(SelfDistillWorker) for role in self.role_worker_mapping}

    def _load_checkpoint(self) -> None:
        teacher = self._settings.run.teacher
        self.actor_rollout_wg.create_teacher(teacher.kind, teacher.student_share)
        self._add_external_models()
        super()._load_checkpoint()
        ticks = 0
        if self.global_steps:
            ticks = json.loads((self._checkpoint_folder() / _OURS).read_text())["teacher_ticks"]
        self._schedule = TeacherSchedule(self._settings.run.teacher, ticks)

    def on_init_end(self) -> None:
        """Hand the workers the method's loss, and make the engine that steps ask."""
        super().on_init_end()
        run = self._settings.run
        model = omega_conf_to_dataclass(self.config.actor_rollout_ref.model)
        self._model = model.hf_config
        self._ends = end_ids_of(model.generation_config, self.tokenizer, run.chat)
        self.actor_rollout_wg.set_loss_fn(Loss(run.implementation, run.objective))
        self._engine = RayEngine(
            self.actor_rollout_wg,
            run.teacher,
            self._schedule,
            {"student": vocabulary_size(self._model), **self._external_vocabularies},
            temperature=run.rollout.temperature,
            head_rows=run.verl.head_rows,
            shared_prompts=run.verl.shared_prompts,
            score_tokens=self.config.actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu,
        )
        self._pictures = picture_reader(Path(model.local_path), self._model, run.chat)
        self._step = TrainingStep(run, self.tokenizer, self._engine, self._pictures, self._critic())
        self._check_lengths()

    def _add_external_models(self) -> None:
        """Load other models beside the student's. Raises UserError where a run that goes on began with other ones."""
        named, critic = self._settings.run.teacher.models, self._settings.run.critic.models
        folders = {role: Path(path) for role, path in (named | critic).items()}
        self._noted = noted_models(self._settings.state, folders)
        rows = {role: self.actor_rollout_wg.add_external(role, path) for role, path in named.items()}
        self._external_vocabularies = {role: each[0] for role, each in rows.items()}

    def _critic(self) -> CritiquedSteps | None:
        """The run's critic; the student itself answers at the addresses of its samplers."""
        return critic_of_driver(
            self._settings, self._noted, [replica.server_address for replica in self.llm_server_manager.get_replicas()]
        )

    def _save_checkpoint(self) -> None:
        folder = self._checkpoint_folder()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _OURS).write_text(json.dumps({"teacher_ticks": self._schedule.ticks}))
        super()._save_checkpoint()  # names the folder as the latest when all is in it
        sync(self.config.trainer.default_local_dir)  # older ones are needed until this one is on the disk
        if keep := self.config.trainer.max_actor_ckpt_to_keep:
            folders = Path(self.config.trainer.default_local_dir).glob("global_step_*")
            for old in sorted(folders, key=lambda each: int(each.name.rpartition("_")[2]))[:-keep]:
                shutil.rmtree(old, ignore_errors=True)

    def fit(self, agent_loop_manager: AgentLoopManager) -> None:
        """Train to the last step. A step is in metrics.jsonl before any checkpoint holds it, so none can be lost.

        A search at test time ends with the first step in which a response passes, or with its last one. No response
        would be drawn after an update there, so none is made.

        Raises UserError for a run whose updates are not finite from some step on for good.
        """
        self.agent_loop_manager, settings = agent_loop_manager, self._settings
        helpers = [*agent_loop_manager.agent_loop_workers, *self.reward_loop_manager.reward_loop_worker_handles]
        servers = [server for replica in self.llm_server_manager.get_replicas() for server in replica.servers]
        Watchdog([*helpers, *servers], servers, give_up=os._exit).start()
        self.curr_step_profile, self.timing_raw = False, {}
        self.logger = Tracking(
            project_name=self.config.trainer.project_name,
            experiment_name=self.config.trainer.experiment_name,
            default_backend=self.config.trainer.logger,
            config=OmegaConf.to_container(self.config, resolve=True),
        )
        log, records = MetricsLog(settings.state), StepRecords(settings.state)
        done, began = self.global_steps, time.monotonic()
        watch = UpdateWatch(log.steps(done))
        if settings.search:
            updates = settings.run.rollout.prompts_per_step // settings.run.update.prompts_per_update
            self._rounds = RoundsFile(settings.state, done, updates)
        if self.config.trainer.val_before_train and not done:
            self._record(log, 0, self._validate(log.last))
        for number in range(done + 1, self.total_training_steps + 1):
            self.global_steps, self.timing_raw = number, {}
            metrics = self._train(number)
            if metrics is None:
                break
            self.on_step_end()  # the sampler gets the new weights
            metrics["timing_s/weights_to_sampler"] = self.timing_raw["update_weights"]
            last = number == self.total_training_steps
            if _due(number, settings.validation_every, last):
                metrics |= self._validate(log.last)
            if self._step.recorded is not None and number > log.last:
                records.write(number, self._step.recorded)
            self._record(log, number, metrics)
            seconds = (time.monotonic() - began) / (number - done)
            print(progress_line(number, self.total_training_steps, metrics, seconds), flush=True)
            watch.see(number, metrics)
            if last:
                watch.finish()
            if _due(number, settings.checkpoint_every, last):
                self._save_checkpoint()
        log.close()
        self._shutdown_dump_executor()
        if self._rounds is None:  # of a search nobody wants the weights
            self.actor_rollout_wg.export(str(settings.state / "export"))

    # ------------------------------------------------------------------------------------------------------------ steps

    def _train(self, number: int) -> dict[str, float] | None:
        """Metrics of a step; None of the step that is a search's last."""
        began = time.monotonic()
        prompts = self.config.data.train_batch_size
        first = (number - 1) * prompts  # in file order, round and round
        rows = [self.train_dataset[(first + i) % len(self.train_dataset)] for i in range(prompts)]
        # Groups are found by position again, and a resumed run names them as before; verl reads up to the first "_".
        uids = [f"{number:06d}-{i:06d}" for i in range(prompts)]
        sampled = self._sample(rows, uids, "train", self._settings.run.rollout.group_size)
        rollouts = self._rollouts(sampled)
        if self._rounds is not None and (any(rollouts.correct) or number == self.total_training_steps):
            self._rounds.add(number, rollouts)
            return None
        drawn, critic = time.monotonic(), self._settings.run.critic.kind
        # The student is its own critic while the sampler has its weights; others are asked while it is put away.
        critiques = self._step.critiques(number, rollouts) if critic == "self" else None
        self.on_sample_end()  # the sampler gives its memory to the trainer
        if critic != "self":
            critiques = self._step.critiques(number, rollouts)
        metrics = self._step.run(number, rollouts, critiques)
        if self._rounds is not None:
            self._rounds.add(number, rollouts, metrics)
        timings = {"timing_s/rollout": drawn - began, "timing_s/step": time.monotonic() - began}
        return metrics | timings | {"memory/peak_gib": self._engine.peak_gib}

    def _sample(self, rows: list[dict], uids: list[str], partition: str, draws: int) -> list[dict[str, Any]]:
        """So many draws of each row, as one dictionary of fields each, in the order of rows and draws.

        Raises UserError where some could not be drawn.
        """
        batch = collate_fn(rows)
        batch["uid"] = np.array(uids, dtype=object)
        batch = tu.get_tensordict(batch)
        tu.assign_non_tensor_data(batch, "global_steps", self.global_steps)
        if partition == "val":
            tu.assign_non_tensor_data(batch, "validate", True)
        tags = [{"is_prompt": True, "status": "pending", "global_steps": self.global_steps} for _ in uids]
        tq.kv_batch_put(keys=uids, partition_id=partition, tags=tags)
        self.agent_loop_manager.generate_sequences(batch)
        meta, _ = self.replay_buffer.sample(
            global_steps=self.global_steps, partition_id=partition, batch_size=len(uids)
        )
        expected = {f"{uid}_{draw}_0" for uid in uids for draw in range(draws)}
        if missing := sorted(expected - set(meta.keys)):
            raise UserError(
                f"{len(missing)} of {len(expected)} responses could not be drawn (the first: {missing[0]}); the cause "
                "is in the log above, at 'Error in _run_prompt'"
            )
        data = tq.kv_batch_get(keys=meta.keys, partition_id=partition, select_fields=list(FIELDS))
        drawn = dict(zip(meta.keys, rows_of_fields(data), strict=True))
        tq.kv_clear(keys=meta.keys, partition_id=partition)
        return [drawn[f"{uid}_{draw}_0"] for uid in uids for draw in range(draws)]

    def _rollouts(self, drawn: list[dict[str, Any]]) -> StepRollouts:
        texts = [self.tokenizer.decode(each["responses"], skip_special_tokens=True) for each in drawn]
        limit = self._settings.run.rollout.max_response_tokens
        truncated = [self._truncated(each["responses"], limit) for each in drawn]
        return rollouts_of(drawn, texts, truncated, self._pictures)

    def _validate(self, recorded: int = -1) -> dict[str, float]:
        """Accuracy on each benchmark, as val/<benchmark>/mean@<draws>; the draws go into the state's folder.

        `recorded`: up to this step metrics are in the log already, before the run was interrupted; so are the draws.
        """
        began, count = time.monotonic(), self._settings.run.validation.draws
        rows = [self.val_dataset[i] for i in range(len(self.val_dataset))]
        drawn = self._sample(rows, [f"{self.global_steps:06d}-v{i:06d}" for i in range(len(rows))], "val", count)
        draws: dict[str, list[Draw]] = defaultdict(list)
        for number, each in enumerate(drawn):
            problem, response = problem_of(each), each["responses"]
            text = self.tokenizer.decode(response, skip_special_tokens=True)
            limit = rows[number // count]["max_response_tokens"]
            truncated = self._truncated(response, limit)
            draws[problem.data_source].append(
                Draw(
                    problem_id=problem.id,
                    draw=number % count,
                    response=text,
                    n_tokens=len(response),
                    finish_reason="length" if truncated else "stop",
                    answer=answer_of(each, text),
                    correct=each["rm_scores"] > 0,
                )
            )
        folder = self._settings.state / "validation" / f"step_{self.global_steps:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        metrics = {}
        for benchmark, each in draws.items():
            if self.global_steps > recorded:
                write_draws(folder / f"{benchmark}.parquet", each)
            metrics[f"val/{benchmark}/mean@{count}"] = float(np.mean([draw.correct for draw in each]))
        return metrics | {"timing_s/validation": time.monotonic() - began}

    # ---------------------------------------------------------------------------------------------------------- helpers

    def _truncated(self, response: list[int], limit: int) -> bool:
        return len(response) >= limit and response[-1] not in self._ends

    def _record(self, log: MetricsLog, step: int, metrics: dict[str, float]) -> None:
        log.write(step, metrics)
        self.logger.log(data=metrics, step=step)

    def _checkpoint_folder(self) -> Path:
        return Path(self.config.trainer.default_local_dir) / f"global_step_{self.global_steps}"

    def _check_lengths(self) -> None:
        """Raises UserError where a hinted context could outgrow the model."""
        longest = self._step.longest_hinted_row()
        if longest is None:
            return
        run = self._settings.run
        check_lengths(
            self._model,
            longest,
            f"selfdistill.hints.max_tokens ({run.hints.max_tokens}), the response limit "
            f"({run.rollout.max_response_tokens}) or data.max_prompt_length ({run.rollout.max_prompt_tokens})",
        )


def _due(step: int, every: int, last: bool) -> bool:
    return every > 0 and (last or step % every == 0)
