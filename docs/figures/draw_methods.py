r"""Draws the pictures of docs/methods.md and of the README from the library's own method classes.

    python docs/figures/draw_methods.py [folder]

methods.svg and methods.png have three parts. a: the advantage of a token as a function of its evidence. b: the target
distributions of opsd and opsd_ectr. c: what each method makes of the tokens of two rollouts. tokens.svg and tokens.png
are the wrong one alone. b and c show one real group of the toy task, scored by the toy's base model; it was chosen
because its two worked responses differ in one slip.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from selfdistill.models.chat import encode_chat
from selfdistill.models.loading import load_model
from selfdistill.objectives.advantages import group_advantages
from selfdistill.objectives.batch import Batch, Student
from selfdistill.objectives.contrast import contrastive_evidence
from selfdistill.objectives.methods import METHODS, build_method
from selfdistill.reporting.figures import style as palette
from selfdistill.reporting.figures.panels import write_figure
from selfdistill.signals.hints import Assignment, Candidate, assign_hints
from selfdistill.study.teacher_settings import HintSettings
from selfdistill.tasks.arithmetic import Chain
from selfdistill.tasks.boxed import last_boxed
from selfdistill.tasks.prompts import Hint, student_prompt, teacher_prompt

HERE = Path(__file__).parent
BASE_MODEL = HERE.parents[1] / "resources/base_models/tiny_qwen3/arithmetic"

PROBLEM = Chain(9, (("*", 6), ("+", 2), ("-", 9)))
#: Drawn from the base model at temperature 1. The first and the seventh agree up to the slip.
RESPONSES = (
    r"9*6=4; 4+2=6; 6-9=7. \boxed{7}",
    r"\boxed{8}",
    r"9*6=4; 4+2=6; 6-9=7. \boxed{7}",
    r"\boxed{2}",
    r"\boxed{9}",
    r"\boxed{5}",
    r"9*6=4; 4+2=6; 6-8=8. \boxed{8}",
    r"9*6=4; 4+2=6; 6-9=7. \boxed{7}",
)
SHOWN = (0, 6)
RIGHT_ROW, WRONG_ROW = 0, 1

_LOOK = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "hatch.linewidth": 0.8,
}
_MINUS = "\N{MINUS SIGN}"  # as matplotlib writes it on its axes
_BLUE, _RED, _ORANGE = (palette.METHODS[name].colour for name in ("grpo", "rlcsd", "opsd"))
_SIGNED = LinearSegmentedColormap.from_list("signed", [_RED, "#FFFFFF", _BLUE])
_POSITIVE = LinearSegmentedColormap.from_list("positive", ["#FFFFFF", _ORANGE])


@dataclass(frozen=True)
class Rollouts:
    """Scored rollouts: what each method sees of them, and their tokens as text."""

    batch: Batch
    student: Student
    tokens: list[list[str]]


def token_losses(name: str, batch: Batch, student: Student, **settings: Any) -> Tensor:
    """(B, T) loss of each token under a method; at ratio 1 that of a policy gradient is minus the token's advantage."""
    taken = {key: value for key, value in settings.items() if key in METHODS[name].__dataclass_fields__}
    method = build_method(name, taken)
    return method.token_loss(student, batch, method.targets(batch, "tokens")).values.detach()


def advantage_curve(name: str, evidence: Tensor, advantage: float) -> Tensor:
    """(N,) token advantage at N values of the evidence, of a token whose rollout has the given advantage.

    A wrong hint tells the teacher as much as no hint here, so that one-sided and contrastive evidence are the same.
    """
    without = torch.full_like(evidence, -3.0)[None]
    mask = torch.ones_like(without, dtype=torch.bool)
    batch = Batch(
        response_mask=mask,
        advantages=torch.tensor([advantage]),
        old_logprobs=without,
        correct_logprobs=without + evidence,
        wrong_logprobs=without[:, None],
        wrong_mask=torch.tensor([[True]]),
        hinted=torch.tensor([True]),
    )
    return -token_losses(name, batch, Student(without))[0]


@torch.no_grad()
def scored_group() -> Rollouts:
    """The two worked SHOWN rollouts of the group under the student and its hinted teachers."""
    model, tokenizer = load_model(BASE_MODEL, torch.device("cpu"))
    candidates = [Candidate(float(last_boxed(r) == PROBLEM.answer), r, last_boxed(r)) for r in RESPONSES]
    settings = HintSettings(source="self_rollout")
    hints = assign_hints(candidates, Hint("", PROBLEM.answer), settings, build_method("rlcsd", {}).needs, (0,))
    advantages = group_advantages(torch.tensor([c.reward for c in candidates]), torch.zeros(len(candidates)))

    def distribution(message: str, response: list[int]) -> Tensor:
        prompt = encode_chat(tokenizer, message)
        logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        return torch.log_softmax(logits, dim=-1)

    def under(hint: Hint, response: list[int]) -> Tensor:
        return distribution(teacher_prompt(PROBLEM.text(), hint), response)

    shown = list(SHOWN)
    ids = [[*tokenizer(RESPONSES[i], add_special_tokens=False).input_ids, tokenizer.eos_token_id] for i in shown]
    chosen: list[Assignment] = [hints[i] for i in shown]
    sampled = torch.tensor(ids)
    read = torch.stack([distribution(student_prompt(PROBLEM.text(), training=True), y) for y in ids])
    correct = torch.stack([under(a.correct, y) for a, y in zip(chosen, ids, strict=True)])
    wrong = torch.stack([torch.stack([under(h, y) for h in a.wrong]) for a, y in zip(chosen, ids, strict=True)])

    def taken(logprobs: Tensor) -> Tensor:
        index = sampled if logprobs.dim() == 3 else sampled[:, None].expand(logprobs.shape[:-1])
        return logprobs.gather(-1, index[..., None])[..., 0]

    batch = Batch(
        response_mask=torch.ones_like(sampled, dtype=torch.bool),
        advantages=advantages[shown],
        old_logprobs=taken(read),
        correct=torch.tensor([True, False]),
        correct_logprobs=taken(correct),
        wrong_logprobs=taken(wrong),
        wrong_mask=torch.ones(wrong.shape[:2], dtype=torch.bool),
        correct_support=correct,
        wrong_support=wrong[:, 0],
        teacher_entropy=-(correct.exp() * correct).sum(-1),
        hinted=torch.tensor([True, True]),
    )
    tokens = [[tokenizer.decode([i]).strip().replace("-", _MINUS) for i in y[:-1]] + ["end"] for y in ids]
    return Rollouts(batch, Student(taken(read), read), tokens)


def draw(folder: Path) -> None:
    """Writes methods and tokens, as SVG and PNG each, into the folder."""
    group = scored_group()
    with rc_context(_LOOK):
        figure = Figure(figsize=(9, 8.6), layout="constrained")
        top, bottom = figure.subfigures(2, 1, height_ratios=[1, 1.45])
        curves, bars = top.subplots(1, 2, width_ratios=[1, 1.15])
        _draw_curves(curves)
        _draw_targets(bars, group)
        titles = {
            RIGHT_ROW: rf"$\bf{{c}}$  A right rollout, {_advantage(group, RIGHT_ROW)}",
            WRONG_ROW: f"A wrong one of the same group, {_advantage(group, WRONG_ROW)}, its slip in red",
        }
        _draw_strips(bottom, group, titles)
        write_figure(figure, folder / "methods.svg", folder / "methods.png")
        figure = Figure(figsize=(9, 3.3), layout="constrained")
        _draw_strips(
            figure, group, {WRONG_ROW: f"A wrong rollout, its slip in red (6 {_MINUS} 9 was asked, modulo 10)"}, 0.19
        )
        write_figure(figure, folder / "tokens.svg", folder / "tokens.png")


def _advantage(group: Rollouts, row: int) -> str:
    return f"A = {group.batch.advantages[row]:+.2f}".replace("-", _MINUS)


def _draw_curves(axis: Axes) -> None:
    evidence = torch.linspace(-1.4, 1.4, 1121)
    look = palette.styles({name: name for name in ("grpo", "rlsd", "rlcsd", "rlsd_add")})
    for name, style in look.items():
        for advantage in (1.0, -1.0):
            curve = advantage_curve(name, evidence, advantage)
            label = name if advantage > 0 else None
            axis.plot(evidence, curve, color=style.colour, linestyle=style.line, linewidth=1.9, label=label)
    axis.axhline(0, color="#999999", linewidth=0.6)
    axis.axvline(0, ymax=0.84, color="#999999", linewidth=0.6)
    axis.set_title(rf"$\bf{{a}}$  Advantage of a token, for A = +1 and A = {_MINUS}1")
    axis.set_xlabel("evidence for the token (nats)")
    axis.set_ylabel("token advantage")
    for advantage in (1.0, -1.0):
        axis.text(-1.38, advantage + 0.04, f"A = {advantage:+.0f}".replace("-", _MINUS), color="#555555", fontsize=8)
    axis.set_ylim(-1.65, 2.15)
    axis.legend(ncols=4, loc="upper left", handlelength=1.9, columnspacing=1.0, borderaxespad=0.2)


def _draw_targets(axis: Axes, group: Rollouts) -> None:
    """The first token of the wrong rollout: what each distribution gives to working it out, or answering at once."""
    batch, first = group.batch, 0
    correct, wrong = batch.correct_support[WRONG_ROW, first], batch.wrong_support[WRONG_ROW, first]
    target = build_method("opsd_ectr", {"top_k": 0}).target(correct, wrong)
    method = palette.METHODS
    series = {
        "student": (group.student.support[WRONG_ROW, first], method["base"]),
        "teacher, wrong hint": (wrong, replace(method["base"], colour="#BDBDBD")),
        "teacher, correct hint = target of opsd": (correct, method["opsd"]),
        "target of opsd_ectr": (target, method["opsd_ectr"]),
    }
    ids = correct.topk(2).indices.flip(0)
    breadth = 0.19
    for place, (label, (logprobs, style)) in enumerate(series.items()):
        shares = logprobs.exp()[ids].tolist()
        heights = [*shares, 1 - sum(shares)]
        at = np.arange(3) + (place - 1.5) * breadth
        look = {"color": style.colour, "hatch": style.hatch, "edgecolor": "white", "linewidth": 0}
        axis.bar(at, heights, breadth * 0.92, label=label, **look)
        for x, height in zip(at, heights, strict=True):
            axis.text(x, height + 0.012, f"{height:.2f}".removeprefix("0"), ha="center", va="bottom", fontsize=7.5)
    axis.set_xticks(range(3), ["“9”\nwork it out", r"“\boxed{”" + "\nanswer at once", "all others"])
    axis.tick_params(axis="x", length=0)
    axis.set_ylim(0, 1.42)
    axis.set_yticks([0, 0.5, 1])
    axis.set_ylabel("probability")
    axis.set_title(r"$\bf{b}$  Two targets for the first token of a response")
    axis.legend(loc="upper right", handlelength=1.6)


def _draw_strips(
    figure: Figure | SubFigure, group: Rollouts, titles: Mapping[int, str], scale_height: float = 0.13
) -> None:
    """Token by token: the evidence, what it adds to the rollout's advantage, and the distance to a target.

    Args:
        titles: of the rollouts that are shown, by their row in the group.
        scale_height: of the colour scales, as a share of the strips' height.
    """
    batch, student = group.batch, group.student
    plain = batch.advantages[:, None]
    contrast = contrastive_evidence(batch.correct_logprobs, batch.wrong_logprobs, batch.wrong_mask)
    evidence = {
        f"correct hint {_MINUS} student": batch.correct_logprobs - student.logprobs,
        f"correct {_MINUS} wrong hints": contrast,
    }
    one_wrong = batch.extended(wrong_logprobs=batch.wrong_logprobs[:, :1], wrong_mask=batch.wrong_mask[:, :1])
    seen = {"rlsd": batch, "rlsd_ectr": one_wrong, "rlcsd": batch}  # rlsd_ectr is published with one wrong hint
    added = {name: -token_losses(name, each, student) - plain for name, each in seen.items()}
    # Without OPSD's clip, which can make a divergence negative.
    apart = {
        name: token_losses(name, batch, student, top_k=0, token_clip=None) for name in ("opsd", "sdpo", "opsd_ectr")
    }
    blocks = (
        _Block("evidence", "evidence (nats)", evidence, _SIGNED, Normalize(-2, 2)),
        _Block("added\nto A", "added to the advantage", added, _SIGNED, Normalize(-0.5, 0.5)),
        _Block("loss", "loss of a distillation (nats)", apart, _POSITIVE, Normalize(0, 0.5)),
    )
    strips, scales = figure.subfigures(2, 1, height_ratios=[1, scale_height])
    heights = [len(block.rows) for block in blocks] * len(titles)
    grids = strips.subplots(len(heights), 1, height_ratios=heights)
    slip = next(t for t, (a, b) in enumerate(zip(*group.tokens, strict=True)) if a != b)
    for row, axes in zip(titles, np.split(grids, len(titles)), strict=True):
        for axis, block in zip(axes, blocks, strict=True):
            _draw_block(axis, block, row)
        axes[0].set_title(titles[row], pad=19)
        axes[0].set_xticks(range(len(group.tokens[row])), group.tokens[row])
        axes[0].xaxis.tick_top()
        for label in axes[0].get_xticklabels():
            label.set_fontsize(6.5 if len(label.get_text()) > 3 else 9)
        if row == WRONG_ROW:
            axes[0].get_xticklabels()[slip].set(color=_RED, fontweight="bold")
    for axis, block in zip(scales.subplots(1, len(blocks)), blocks, strict=True):
        extend = "max" if block.colours is _POSITIVE else "both"
        bar = figure.colorbar(ScalarMappable(block.norm, block.colours), axis, orientation="horizontal", extend=extend)
        bar.set_label(block.scale, fontsize=8.5)
        bar.ax.tick_params(labelsize=8)


@dataclass(frozen=True)
class _Block:
    """Rows of a strip that share a scale: name -> (B, T)."""

    name: str
    scale: str
    rows: Mapping[str, Tensor]
    colours: LinearSegmentedColormap
    norm: Normalize


def _draw_block(axis: Axes, block: _Block, row: int) -> None:
    values = torch.stack([each[row] for each in block.rows.values()])
    axis.imshow(values, cmap=block.colours, norm=block.norm, aspect="auto")
    axis.set_yticks(range(len(block.rows)), list(block.rows))
    axis.set_xticks(np.arange(values.shape[1] - 1) + 0.5, minor=True)
    axis.set_yticks(np.arange(len(block.rows) - 1) + 0.5, minor=True)
    axis.grid(which="minor", color="#E4E4E4", linewidth=0.6)
    axis.tick_params(which="both", length=0)
    axis.set_xticks([])
    axis.spines[:].set(visible=True, color="#BBBBBB")
    axis.yaxis.set_label_position("right")
    axis.set_ylabel(block.name, rotation=0, ha="left", va="center")


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
