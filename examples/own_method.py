"""Trains the toy with a method of one's own: GRPO on the tokens that a hinted teacher does not dislike.

A method is a frozen dataclass. Its fields are the keys of `objective`, `needs` says what is to be scored, `targets`
sees the whole batch without gradient, and `token_loss` any part of it with gradient (docs/methods.md#one-of-your-own).

    python examples/own_method.py

In the workflow it needs this file on PYTHONPATH and three lines of configuration, here on top of the demo's:

    # my.yaml
    methods:
      agreement: {implementation: "own_method:Agreement"}
    matrix: {variants: [base, grpo, agreement]}

    PYTHONPATH=examples snakemake --profile profiles/local --configfile config/demo.yaml my.yaml --
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from selfdistill.methods.setting import Settings, setting
from selfdistill.objectives.aggregation import token_weights
from selfdistill.objectives.batch import Batch, Needs, Student, Targets, TokenLoss
from selfdistill.objectives.policy_gradient import clipped_surrogate
from toy import chain_problems, toy_settings, toy_trainer


@dataclass(frozen=True)
class Agreement(Settings):
    """GRPO on the tokens whose evidence is at least `threshold` nats."""

    published: ClassVar[dict] = {"teacher": {"kind": "snapshot"}, "hints": {"source": "gt_cot"}}
    needs: ClassVar[Needs] = Needs(correct_hint=True)

    threshold: float = setting(0.0, "Least evidence of a token that is trained on.", unit="nats")
    epsilon: float = setting(0.2, "Clip of the policy ratio, both sides.", above=0, maximum=1)

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        """Returns each rollout's advantage on its chosen tokens, and nothing on the others."""
        evidence = batch.correct_logprobs - batch.old_logprobs  # (B, T) nats
        chosen = batch.hinted_mask & (evidence >= self.threshold)
        share = float(chosen.sum() / batch.token_mask.sum().clamp(min=1))
        advantages = batch.advantages[:, None].expand(chosen.shape)
        return Targets(advantages, token_weights(chosen, aggregation, batch.rollouts), {"signal/chosen_share": share})

    def token_loss(self, student: Student, batch: Batch, targets: Targets) -> TokenLoss:
        """Returns the clipped surrogate of each token."""
        old, advantages = batch.old_logprobs, targets.advantages
        return TokenLoss(clipped_surrogate(student.logprobs, old, advantages, self.epsilon, self.epsilon))


def main(steps: int = 2) -> list[dict[str, float]]:
    """Trains with it; returns the metrics of each step."""
    settings = toy_settings("grpo", **Agreement.published)
    settings = replace(settings, implementation=f"{__name__}:Agreement", objective={"threshold": 0.0})
    trainer = toy_trainer(settings, chain_problems(16))
    metrics = [trainer.step(number) for number in range(1, steps + 1)]
    for number, each in enumerate(metrics, start=1):
        print(f"step {number}: {each['reward/mean']:.2f} right, {each['signal/chosen_share']:.0%} of tokens trained on")
    return metrics


if __name__ == "__main__":
    main()
