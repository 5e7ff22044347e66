"""Declares every number that a trainer logs: name, unit and meaning. docs/metrics.md is made from this file.

Both trainers log the same names. A method of one's own may log more; reporting reads declared names only.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: Updates of a step that were not made, and those of them whose gradient was not finite.
SKIPPED, NONFINITE = "actor/skipped_updates", "actor/nonfinite_updates"
#: Tokens of a step that its teacher, and its student for its updates, read.
READ_FOR_UPDATES = ("tokens/teacher_forwarded", "tokens/updated")


@dataclass(frozen=True)
class Metric:
    """One number in a line of metrics.jsonl.

    Attributes:
        name: as it is logged; a part in angle brackets varies from run to run.
        unit: of the number.
        meaning: one sentence.
        logged_by: the methods, or the part of a trainer, that log it.
    """

    name: str
    unit: str
    meaning: str
    logged_by: str = "all methods"

    @property
    def pattern(self) -> str:
        """Returns a regular expression that matches the names in a log."""
        return "".join(r"[^/\s]+" if part.startswith("<") else re.escape(part) for part in _VARYING.split(self.name))


_VARYING = re.compile(r"(<[^>]+>)")
_TEACHER, _HINTED = "methods with a teacher", "methods with a hinted teacher"
_CRITICISED = "runs with a critic"
_SDPO = "sdpo, sdpo_official"
_DISTILLING = f"opsd, opsd_ectr, {_SDPO}, srpo, opd_divergence"
_MODULATING = "rlsd, rlsd_ectr, rlsd_add, rlsd_hybrid, rlcsd"

METRICS = (
    # Rollouts of the step, before anything leaves the batch.
    Metric("reward/mean", "share", "Mean verifier reward of the step's rollouts, 1 for a correct one and 0 otherwise."),
    Metric("reward/boxed_share", "share", "Share of rollouts whose response has a non-empty boxed answer."),
    Metric("response/length_mean", "tokens", "Mean length of a response, its end token included."),
    Metric("response/truncated", "share", "Share of responses cut at `rollout.max_response_tokens`."),
    Metric(
        "rollout/logprob_gap_abs_mean",
        "nats",
        "Mean absolute difference of a drawn token's log-prob in the trainer and in the sampler.",
        "runs with `rollout.old_logprobs: recompute`, and samplers that know no entropy",
    ),
    Metric(
        "val/<benchmark>/mean@<draws>",
        "share",
        "Accuracy of the current weights on the first `validation.problems` problems of a benchmark.",
        "every `validation.every` steps",
    ),
    # The update.
    Metric("actor/entropy", "nats per token", "Mean entropy of the policy at the tokens it drew, before the update."),
    Metric("actor/loss", "the loss's own", "The loss that was minimised; its normalisation is `update.aggregation`."),
    Metric(
        "actor/approx_kl",
        "nats per token",
        "Mean of old minus current log-probs of the drawn tokens (the k1 estimator of the divergence from the rollout "
        "policy); 0 in the first update of a step.",
    ),
    Metric(
        "actor/ratio_outside_0.2",
        "share",
        "Share of tokens whose policy ratio is more than 0.2 away from 1.",
    ),
    Metric("actor/grad_norm", "norm", "Norm of the gradient before it is clipped at `optimizer.max_grad_norm`."),
    Metric("actor/learning_rate", "none", "Learning rate of the step, warm-up included."),
    Metric(
        SKIPPED,
        "updates",
        "Optimizer steps that were not made: no token had a loss of the method's own, or the gradient was not finite.",
    ),
    Metric(NONFINITE, "updates", "Optimizer steps not made because the gradient was not finite."),
    Metric(
        "actor/importance_mean",
        "ratio",
        "Mean truncated importance weight of trainer against sampler.",
        "runs with `rollout.old_logprobs: recompute` and a threshold",
    ),
    # Hints.
    Metric("hints/hinted_share", "share", "Share of rollouts whose teacher reads a hint.", _HINTED),
    Metric("hints/solution_share", "share", "Share of rollouts whose teacher reads a solution.", _HINTED),
    Metric("hints/feedback_used_share", "share", "Share of rollouts whose teacher reads feedback.", _HINTED),
    Metric(
        "hints/feedback_available_share",
        "share",
        "Share of rollouts of which the grader said something; 0 where `hints.feedback` is never.",
        _HINTED,
    ),
    Metric("hints/success_groups_share", "share", "Share of groups with a response that may be shown.", _HINTED),
    Metric("hints/dropped_share", "share", "Share of rollouts that leave the batch for want of a hint.", _HINTED),
    Metric("hints/wrong_mean", "hints", "Mean number of wrong hints of a hinted rollout.", _HINTED),
    Metric(
        "hints/truncated_share",
        "share",
        "Share of hinted prompts that lost text to a limit.",
        _HINTED,
    ),
    Metric(
        "hints/all_correct_share",
        "share",
        "Share of rollouts without hints because their group is all right.",
        _HINTED,
    ),
    Metric(
        "hints/all_wrong_share", "share", "Share of rollouts without hints because their group is all wrong.", _HINTED
    ),
    Metric(
        "hints/no_usable_wrong_share",
        "share",
        "Share of rollouts without hints because no wrong rollout of their group boxed an answer.",
        _HINTED,
    ),
    Metric(
        "hints/lone_correct_share",
        "share",
        "Share of rollouts without hints because they are the only right one of their group.",
        _HINTED,
    ),
    Metric(
        "hints/lone_wrong_share",
        "share",
        "Share of rollouts without hints because they are the only usable wrong one of their group.",
        _HINTED,
    ),
    Metric(
        "hints/no_feedback_share",
        "share",
        "Share of rollouts without hints because nothing was said of them, and nothing else is to be read.",
        _HINTED,
    ),
    Metric(
        "hints/not_needed_share",
        "share",
        "Share of rollouts whose hints were not shown because the loss would not read the teacher.",
        _HINTED,
    ),
    # What a critic wrote of the step's rollouts.
    Metric("critique/coverage", "share", "Share of rollouts whose teacher reads a critique.", _CRITICISED),
    Metric("critique/of_wrong", "share", "The same of wrong rollouts.", _CRITICISED),
    Metric("critique/failed", "share", "Share of the rollouts that were asked about without a critique.", _CRITICISED),
    Metric(
        "critique/cache_hits",
        "share",
        "Share of the rollouts that were asked about whose critique was known from an earlier step or attempt.",
        _CRITICISED,
    ),
    Metric("critique/tokens_mean", "tokens", "Mean length of a critique, closing verdict included.", _CRITICISED),
    Metric("critique/seconds", "seconds", "Mean time that a critique took when it was written.", _CRITICISED),
    Metric("critique/truncated", "share", "Share of critiques cut at `critic.max_tokens`.", _CRITICISED),
    Metric("critique/judged_right", "share", "Share of critiques that call a wrong answer right.", _CRITICISED),
    Metric(
        "critique/answer_leak",
        "share",
        "Share of critiques that hold the right answer, which neither problem nor response has, though their writer "
        "was not shown it; a short answer may stand there by chance.",
        _CRITICISED,
    ),
    Metric(
        "critique/reason/<reason>",
        "share",
        "Share of rollouts by what became of their critique: ok, truncated, judged_right, leak (it answered); "
        "right, zero_advantage, not_read (nobody was asked); unreachable, timeout, empty, too_long_input, refused "
        "(asked in vain). They add up to 1.",
        _CRITICISED,
    ),
    # The teacher and its signal.
    Metric(
        "teacher/logprob_mean",
        "nats",
        "Mean log-prob of scored tokens under the teacher.",
        _TEACHER,
    ),
    Metric(
        "teacher/gap_abs_mean",
        "nats",
        "Mean absolute difference of a drawn token's log-prob under the teacher and under the rollout policy.",
        _TEACHER,
    ),
    Metric(
        "teacher/delta_wrong",
        "nats",
        "Mean log-prob of teacher minus student, before the update, over all tokens of wrong rollouts with a critique.",
        _CRITICISED,
    ),
    Metric(
        "teacher/delta_right_placebo",
        "nats",
        "The same over right rollouts that read the critique of a wrong one of their group, `critic.placebo` at most.",
        _CRITICISED,
    ),
    Metric(
        "teacher/delta_gap",
        "nats",
        "Mean difference over the wrong rollouts whose critiques those are, minus `teacher/delta_right_placebo`: below "
        "0 where a critique tells its own rollout from a right one.",
        _CRITICISED,
    ),
    Metric(
        "teacher/kl",
        "nats per token",
        "Mean KL(student, teacher): exact where the whole vocabulary is read, else from the drawn tokens (k3).",
        "opd, opd_divergence",
    ),
    Metric("teacher/kl_first", "nats", "The same at the first token of a response.", "opd, opd_divergence"),
    Metric(
        "teacher/top_k_mass",
        "share",
        "Mean probability that the teacher gives to the ids that are compared.",
        "opd_divergence with `top_k`",
    ),
    Metric(
        "actor/top_k_mass",
        "share",
        "Mean probability that the student gives, before the update, to the ids that are compared.",
        "opd_divergence with `top_k`",
    ),
    Metric("teacher/entropy", "nats per token", "Mean entropy of the teacher at the distilled tokens.", "srpo"),
    Metric("signal/evidence_mean", "nats", "Mean evidence of a token, with its sign.", _MODULATING),
    Metric("signal/evidence_abs_mean", "nats", "Mean size of a token's evidence.", _MODULATING),
    Metric("signal/selected_share", "share", "Share of tokens on the selected path (|residual| > delta).", "rlcsd"),
    Metric("signal/residual_mean", "advantage", "Mean shift of the advantage at selected tokens.", "rlcsd"),
    Metric(
        "signal/sign_clamped_share",
        "share",
        "Share of selected tokens whose shift was cut so that the advantage keeps its sign.",
        "rlcsd with its anchor",
    ),
    Metric(
        "signal/lam",
        "none",
        "Share of the modulation at this step, after its decay.",
        "rlsd, rlsd_ectr, rlsd_add, rlsd_hybrid",
    ),
    Metric("signal/weight_mean", "factor", "Mean clipped weight of an advantage.", "rlsd, rlsd_ectr, rlsd_hybrid"),
    Metric(
        "signal/weight_clipped_share",
        "share",
        "Share of tokens whose weight `epsilon_w` changed.",
        "rlsd, rlsd_ectr, rlsd_hybrid",
    ),
    Metric(
        "signal/evidence_clipped_share",
        "share",
        "Share of tokens whose evidence is over `evidence_clip`.",
        "rlsd_add, rlsd_hybrid",
    ),
    Metric(
        "signal/divergence_mean", "nats per token", "Mean divergence of student and teacher, before clips.", _DISTILLING
    ),
    Metric(
        "signal/clipped_share",
        "share",
        "Share of tokens whose divergence the clip changed.",
        "opsd, opsd_ectr",
    ),
    Metric(
        "signal/teacher_gap_abs_mean",
        "nats",
        "Mean absolute difference of a drawn token's log-prob under the teacher and under the current student.",
        _DISTILLING,
    ),
    Metric("signal/is_ratio_mean", "ratio", "Mean bounded policy ratio that scales a divergence.", f"{_SDPO}, srpo"),
    Metric("signal/distilled_share", "share", "Share of tokens that go to the distillation branch.", "srpo"),
    Metric("signal/entropy_weight_max", "factor", "Largest confidence weight of a distilled token.", "srpo"),
    Metric("signal/contrast_weight_mean", "factor", "Mean weight of a token by the contrast of hints.", "opsd_ectr"),
    Metric("signal/advantage_mean", "nats", "Mean clipped log-ratio of teacher and rollout policy.", "opd"),
    Metric(
        "signal/advantage_clipped_share", "share", "Share of tokens whose log-ratio `advantage_clip` changed.", "opd"
    ),
    # Guards.
    Metric(
        "guard/null_contrast_abs_mean",
        "nats",
        "Mean absolute difference of two scorings of the same hinted rollouts: what numerics alone would give.",
        _TEACHER,
    ),
    Metric("guard/null_contrast_abs_max", "nats", "The largest such difference.", _TEACHER),
    Metric(
        "guard/alignment_gain",
        "nats",
        "Mean log-prob of the responses less that of the responses shifted by one token; clearly above 0 "
        "unless teacher and student are misaligned.",
        _TEACHER,
    ),
    Metric(
        "guard/teacher_over_uniform",
        "nats",
        "Mean log-prob under the teacher above that of guessing, -ln V; near 0 the teacher says nothing.",
        _TEACHER,
    ),
    # Cost.
    Metric("tokens/generated", "tokens", "Response tokens drawn in the step."),
    Metric("tokens/updated", "tokens", "Response tokens that an update was made from."),
    Metric("tokens/teacher_forwarded", "tokens", "Tokens that teacher passes forwarded.", _TEACHER),
    Metric("tokens/teacher_plain", "tokens", "Tokens that one forward for each hint and rollout would take.", _TEACHER),
    Metric("timing_s/<part>", "seconds", "Wall time of the step and of its parts (rollout, teacher, update, ...)."),
    Metric("memory/peak_gib", "GiB", "Largest memory of a GPU so far.", "the verl trainer"),
)

_KNOWN = re.compile("|".join(f"(?:{metric.pattern})" for metric in METRICS))


def undeclared(names: Iterable[str]) -> list[str]:
    """Returns the names that METRICS does not declare, in the order given."""
    return [name for name in names if not _KNOWN.fullmatch(name)]
