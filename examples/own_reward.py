"""Trains the toy on a reward of one's own: an answer counts where it is right and its working is short.

A reward is a function of a response and its problem that returns a `Graded`. Its `correct` decides the reward (1 or 0)
and who may lend a correct hint; its `feedback` may be shown to a teacher (docs/methods.md#contexts).

    python examples/own_reward.py
"""

from selfdistill.tasks.graded import Graded
from selfdistill.tasks.schema import Problem
from toy import chain_problems, grade_maths, toy_settings, toy_trainer

LONGEST = 24  # characters


def right_and_short(response: str, problem: Problem) -> Graded:
    """Returns the verdict of the maths grader, turned to wrong where the response is long, with the reason."""
    graded = grade_maths(response, problem)
    if graded.correct and len(response) > LONGEST:
        return Graded(graded.answer, correct=False, feedback=f"Right, but {len(response)} characters long.")
    return graded


def main(steps: int = 2) -> list[dict[str, float]]:
    """Trains with rlcsd; returns the metrics of each step."""
    trainer = toy_trainer(toy_settings("rlcsd"), chain_problems(16), right_and_short)
    metrics = [trainer.step(number) for number in range(1, steps + 1)]
    for number, each in enumerate(metrics, start=1):
        print(f"step {number}: {each['reward/mean']:.2f} right and short, {each['response/length_mean']:.0f} tokens")
    return metrics


if __name__ == "__main__":
    main()
