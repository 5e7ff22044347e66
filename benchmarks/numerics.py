"""How much evidence rlcsd would find in numerics alone: one model's log-probs by batch shape, engine and precision.

python benchmarks/numerics.py [--config FILE ...] [--tasks ...] [--model NAME] [--folder FOLDER]; run from the
repository's root. Problems, sampling, hints, tau and delta are those of the first step of the study's rlcsd run, the
rollouts the model's own. Three tables: what is left of the contrast of a hint with itself (null), what policy ratios
of unchanged weights are (engines), and the evidence under the run's hints by class of token (evidence).
"""

import argparse
import copy
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from evidence import evidence_of, hinted_batch, response_mask, share, sizes, smallest_selected
from side_by_side import as_text, machine, write_csv
from step import base_model, load
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.models.chat import encode_chat, end_ids
from selfdistill.models.loading import cast_weights, load_model, pick_device
from selfdistill.objectives.methods import build_method
from selfdistill.objectives.policy_gradient import importance_weights, log_ratio
from selfdistill.objectives.rlcsd import RLCSD
from selfdistill.randomness import generator
from selfdistill.reporting.tokens.classes import CLASSES, token_class
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import Rollout, Sampler, SamplingSettings
from selfdistill.sampling.transformers_generate import TransformersGenerate
from selfdistill.scoring.scorer import ModelScorer, read_responses, score
from selfdistill.scoring.scores import Sequences
from selfdistill.signals.hints import Assignment, Candidate, assign_hints
from selfdistill.signals.teacher_contexts import ContextBuilder, TeacherContexts
from selfdistill.signals.teacher_scores import score_contexts
from selfdistill.study.study import Study
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.datasets import generate_problems
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.prompts import Hint, student_prompt
from selfdistill.tasks.schema import Problem
from selfdistill.training.token_texts import token_texts

#: One file for each of TABLES: numerics_null.csv, ...
OUTPUT = Path("results/benchmarks/numerics.csv")
TABLES = ("null", "engines", "evidence")
METHOD, SEED = "rlcsd", 0
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ENGINES = {"own": DecodeLoop, "transformers": TransformersGenerate}
#: Most rows of the padded micro-batches.
ROWS = (2, 4, 8, 16, 32)
#: Beyond so many tau a token's shift is 0.99 of the largest, whatever the evidence.
SATURATED = 2.5
Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A model, and B rollouts of its own with their hints, as in the first training step of a run.

    Attributes:
        method: with the run's tau, delta and so on.
        models: the same weights by precision.
        prompts, keys: of the B rollouts: token ids, random streams.
        responses: token ids as drawn in float32. contexts: what the teacher reads of each.
    """

    task: str
    settings: TrainingSettings
    method: RLCSD
    models: dict[str, PreTrainedModel]
    tokenizer: PreTrainedTokenizerBase
    prompts: list[list[int]]
    keys: list[tuple]
    responses: list[list[int]]
    contexts: TeacherContexts

    @property
    def hinted(self) -> list[int]:
        """Rollouts that the teacher is asked about."""
        return [row for row, asked in enumerate(self.contexts.hinted) if asked]

    @property
    def temperature(self) -> float:
        return self.settings.rollout.temperature

    @property
    def budget(self) -> int:
        """Padded tokens of a micro-batch."""
        return self.settings.update.micro_batch_tokens


def make_case(study: Study, task: str, name: str, folder: Path | None, groups: int) -> Case:
    """Draw and hint the first prompts of the study's rlcsd run, as its trainer would.

    Args:
        study: the data of its task must be generated ones.
        task, name: of the run; the name is its model's.
        folder: of the weights, in place of the run's base model.
        groups: how many prompts.

    Raises:
        UserError: where no rollout has hints.
    """
    run = study.resolve(task, name, METHOD, seed=SEED)
    settings = TrainingSettings.from_config(run)
    method, size = build_method(settings.implementation, settings.objective), settings.rollout.group_size
    model, tokenizer = load_model(folder or base_model(study, task, name), pick_device())
    problems = generate_problems({**study.split(task, "train"), "problems": groups}, "train")
    encoded = [encode_chat(tokenizer, student_prompt(problem.problem, training=True)) for problem in problems]
    prompts = [ids for ids in encoded for _ in range(size)]
    keys = [(SEED, "rollout", 1, prompt, member) for prompt in range(groups) for member in range(size)]
    drawn = make_sampler("own", model, tokenizer).sample(prompts, SamplingSettings.of(settings.rollout), keys)
    responses = [rollout.response_ids for rollout in drawn]
    texts = [tokenizer.decode(response, skip_special_tokens=True) for response in responses]
    assignments: list[Assignment] = []
    for number, problem in enumerate(problems):
        own = texts[number * size : (number + 1) * size]
        assignments += hints(settings, method, run["grader"], problem, own, number)
    builder = ContextBuilder(tokenizer, settings.hints, settings.max_sequence_tokens)
    asked = [problem for problem in problems for _ in range(size)]
    contexts = builder.build(asked, assignments, list(map(len, responses)))
    if not any(contexts.hinted):
        raise UserError(
            f"task {task}: no rollout of {groups} groups of {size} has a correct and a wrong sibling to be hinted by; "
            "take more groups (--prompts), or a model that solves some problems and not all (--folder)"
        )
    models = {precision: in_precision(model, precision) for precision in PRECISIONS}
    return Case(task, settings, method, models, tokenizer, prompts, keys, responses, contexts)


def hints(
    settings: TrainingSettings, method: RLCSD, grader: str, problem: Problem, texts: Sequence[str], number: int
) -> list[Assignment]:
    """Hints of one group, the first step's `number`-th from 0, from its own responses."""
    lenient = settings.reward.first_role_counts
    graded = [grade_response(text, problem, grader, first_role_counts=lenient) for text in texts]
    group = [Candidate(float(each.correct), text, each.answer) for each, text in zip(graded, texts, strict=True)]
    return assign_hints(group, Hint(problem.solution, problem.answer), settings.hints, method.needs, (SEED, 1, number))


def make_sampler(engine: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Sampler:
    """One of ENGINES, with what ends a response of this model."""
    ends = end_ids(model, tokenizer)
    return ENGINES[engine](model, tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0], ends)


def in_precision(model: PreTrainedModel, precision: str) -> PreTrainedModel:
    """The model itself in float32, else a copy with rounded weights."""
    return model if precision == "float32" else cast_weights(copy.deepcopy(model), PRECISIONS[precision])


def null_contrast(case: Case, count: int) -> Iterator[Row]:
    """Scores of `count` hinted rollouts, each alone, against the same in other shapes of batch.

    They come in random order: those of a group are of much the same length. The second scores stand in for the
    teacher's under a wrong hint, so all of this evidence is noise, and so is what is selected by it. `shift` is the
    mean size of the residual, in units of the advantage.
    """
    rows = [case.hinted[i] for i in generator(SEED, "numerics").permutation(len(case.hinted))[:count]]
    sequences = Sequences([case.contexts.correct[row] for row in rows], [case.responses[row] for row in rows])
    width = max(map(len, sequences.responses))
    for precision, model in case.models.items():
        alone = score(model, sequences, width, 1, case.temperature).logprobs
        for shape, logprobs in shapes(case, model, sequences, width).items():
            evidence, selected = evidence_of(case.method, hinted_batch(sequences.responses, alone, logprobs()[:, None]))
            yield {
                "task": case.task,
                "precision": precision,
                "shape": shape,
                "tokens": len(evidence),
                **sizes(evidence),
                "selected": share(selected),
                "shift": float(case.method.residual(evidence).abs().mean()),
            }


def shapes(case: Case, model: PreTrainedModel, sequences: Sequences, width: int) -> dict[str, Callable[[], Tensor]]:
    """Other ways to the same log-probs (N, width): the guard's, micro-batches of up to so many rows, the trainer's."""
    count = len(sequences.responses)

    @torch.no_grad()
    def in_batches(size: int) -> Tensor:
        found = torch.zeros(count, width, device=model.device)
        for rows in torch.arange(count).split(size):
            part = read_responses(model, sequences, rows.tolist(), case.temperature).logprobs
            found[rows, : part.shape[1]] = part
        return found

    def by_scorer(budget: int, **how: bool) -> Tensor:
        return ModelScorer(model, budget, case.temperature)(sequences, width, **how).logprobs

    found: dict[str, Callable[[], Tensor]] = {"alone, padded": partial(by_scorer, case.budget, alone=True)}
    found |= {f"{size} rows": partial(in_batches, size) for size in ROWS if size < 2 * count}
    return found | {f"trainer, {tokens}": partial(by_scorer, tokens) for tokens in (case.budget, case.budget // 8)}


def engine_ratios(case: Case, count: int) -> Iterator[Row]:
    """Log-probs that engines give of what they draw for the first `count` prompts, against the same weights' scores.

    The ratio is the first update's, of trainer to sampler, before anything has moved: 1 but for numerics.
    """
    prompts, keys = case.prompts[:count], case.keys[:count]
    for drawn_in, model in case.models.items():
        for engine in ENGINES:
            drawn = make_sampler(engine, model, case.tokenizer).sample(
                prompts, SamplingSettings.of(case.settings.rollout), keys
            )
            sequences = Sequences(prompts, [each.response_ids for each in drawn])
            width = max(map(len, sequences.responses))
            told = {"task": case.task, "engine": engine, "drawn_in": drawn_in}
            for scored_in in dict.fromkeys(["float32", drawn_in]):
                scores = ModelScorer(case.models[scored_in], case.budget, case.temperature)(sequences, width)
                yield told | {"scored_in": scored_in, "scored": "trainer"} | ratios(case, drawn, scores.logprobs)
            scores = score(model, sequences, width, 1, case.temperature)
            yield told | {"scored_in": drawn_in, "scored": "alone"} | ratios(case, drawn, scores.logprobs)


def ratios(case: Case, drawn: Sequence[Rollout], logprobs: Tensor) -> Row:
    """Differences of log-probs (B, T) to the sampler's, and what the loss makes of them."""
    new = logprobs[response_mask([each.response_ids for each in drawn], logprobs.device)]
    old = torch.cat([torch.from_numpy(each.logprobs) for each in drawn]).to(new)
    ratio, epsilon = log_ratio(new, old).exp(), case.method.epsilon
    threshold = case.settings.rollout.importance_threshold
    truncated = None if threshold is None else share(importance_weights(new, old, threshold) >= threshold)
    return {
        "tokens": len(new),
        **sizes(new - old),
        "ratio_min": float(ratio.min()),
        "ratio_max": float(ratio.max()),
        "clipped": share((ratio - 1).abs() > epsilon),
        "truncated": truncated,
    }


def evidence_by_class(case: Case) -> Iterator[Row]:
    """Evidence of all hinted rollouts, one-sided and contrastive; student and teacher are the same weights.

    `same`: of the tokens that are selected in float32, the share that is selected, and with the same sign, here;
    `new`: of the others, the share that is selected.
    """
    rows = case.hinted
    responses, contexts = [case.responses[row] for row in rows], case.contexts.rows(rows)
    plain, width = Sequences([case.prompts[row] for row in rows], responses), max(map(len, responses))
    classes = [token_class(text) for response in responses for text in token_texts(case.tokenizer, response)]
    in_float32: dict[str, Tensor] = {}
    for precision, model in case.models.items():
        scorer = ModelScorer(model, case.budget, case.temperature)
        scores = score_contexts(scorer, contexts, responses, width)
        student = scorer(plain, width).logprobs
        batch = hinted_batch(responses, scores.correct_logprobs, scores.wrong_logprobs, scores.wrong_mask, student)
        for signal, one_sided in (("one-sided", True), ("contrast", False)):
            evidence, selected = evidence_of(replace(case.method, one_sided=one_sided), batch)
            signs = evidence.sign() * selected  # 0 where a token is not selected
            before = in_float32.setdefault(signal, signs)
            for name in ("all", *CLASSES):
                part = torch.tensor([name in ("all", each) for each in classes], device=evidence.device)
                if not part.any():
                    continue
                kept, others = part & (before != 0), part & (before == 0)
                compared = precision != "float32"
                yield {
                    "task": case.task,
                    "precision": precision,
                    "signal": signal,
                    "class": name,
                    "tokens": int(part.sum()),
                    **sizes(evidence[part], median=0.5, p90=0.9),
                    "selected": share(selected[part]),
                    "saturated": share(evidence[part].abs() > SATURATED * case.method.tau),
                    "same": share(signs[kept] == before[kept]) if compared and kept.any() else None,
                    "new": share(selected[others]) if compared and others.any() else None,
                }


def main(arguments: Sequence[str]) -> None:
    """Measure all tasks; what is done is written after each table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", nargs="+", type=Path, default=[Path("config/demo.yaml")], help="config files")
    parser.add_argument("--tasks", nargs="+", help="of the matrix; all of them without")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES, help="all without")
    parser.add_argument("--model", help="of the matrix; its first without")
    parser.add_argument("--folder", type=Path, help="weights in place of the base model's, such as a finished run's")
    parser.add_argument("--prompts", type=int, default=8, help="groups that are drawn, and hinted for the evidence")
    parser.add_argument("--rows", type=int, default=32, help="rollouts of the other two tables")
    parser.add_argument("--threads", type=int, default=1, help="as many as a job of the demo has")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    study = load(options.config)
    name = options.model or study.axis("models")[0]
    print(machine(), flush=True)
    rows: dict[str, list[Row]] = {}
    for task in options.tasks or study.axis("tasks"):
        case = make_case(study, task, name, options.folder, options.prompts)
        hinted, nats = f"{len(case.hinted)} of {len(case.responses)}", smallest_selected(case.method)
        print(f"{task}: {hinted} rollouts have hints; tokens are selected beyond {nats:.1g} nats", flush=True)
        measures = {
            "null": partial(null_contrast, case, options.rows),
            "engines": partial(engine_ratios, case, options.rows),
            "evidence": partial(evidence_by_class, case),
        }
        for table in options.tables:
            found = list(measures[table]())
            rows[table] = [*rows.get(table, []), *found]
            write_csv(OUTPUT.with_stem(f"{OUTPUT.stem}_{table}"), rows[table])
            print(as_text(found), flush=True)
    print(f"written: {OUTPUT.with_stem(f'{OUTPUT.stem}_*')}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
