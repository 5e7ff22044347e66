import math

import pytest
import torch

from selfdistill.objectives.batch import Batch
from selfdistill.objectives.grpo import GRPO
from selfdistill.objectives.rlsd_ectr import RLSDECTR

PLAIN = GRPO(dual_clip=1e12)
SWITCHES = [
    RLSDECTR(),
    RLSDECTR(lam=1.0, lam_decay_steps=0, epsilon_w=0.02),
    RLSDECTR(epsilon_low=0.1, epsilon_high=0.28, epsilon_w=0.5, lam=0.9, lam_decay_steps=60),
]


def slow_rlsd_ectr(slow, method, case, aggregation):
    """Spec 9: as RLSD with p_correct over the mean of p_wrong in place of p_teacher over p_student."""
    steps, step = method.lam_decay_steps, case.batch.step
    lam = method.lam if steps == 0 else max(0.0, method.lam * (steps - (step - 1)) / steps)
    hinted = case.places(hinted=True)

    def odds(at):
        return at.correct / (sum(at.wrong) / len(at.wrong))

    def weights(at):
        raw = 1.0 if at.advantage == 0 else odds(at) if at.advantage > 0 else 1 / odds(at)
        return raw, min(max(raw, 1 - method.epsilon_w), 1 + method.epsilon_w)

    def value(at, student):
        factor = (1 - lam) + lam * weights(at)[1] if at.hinted else 1.0
        ratio = student[at.sampled] / at.old
        return slow.surrogate(ratio, at.advantage * factor, method.epsilon_low, method.epsilon_high)

    logged = {
        "signal/evidence_mean": lambda at, _: math.log(odds(at)),
        "signal/evidence_abs_mean": lambda at, _: abs(math.log(odds(at))),
        "signal/weight_mean": lambda at, _: weights(at)[1],
        "signal/weight_clipped_share": lambda at, _: float(weights(at)[0] != weights(at)[1]),
    }
    loss = slow.loss(case, slow.shares(case.places(), aggregation, int(case.batch.kept.sum())), value)
    found = slow.means(case, {name: (hinted, function) for name, function in logged.items()})
    return *loss, found | {"signal/lam": lam}


def test_equal_hints_leave_advantages_as_they_are(random_case, measured, agree):
    for seed in range(6):
        case = random_case(seed, RLSDECTR().needs).with_agreeing_teacher()
        found = measured(RLSDECTR(), case, "tokens")
        agree(found[:2], measured(PLAIN, case, "tokens")[:2])
        if case.batch.hinted_mask.any():
            assert found[2]["signal/evidence_abs_mean"] == pytest.approx(0, abs=1e-12)
            assert found[2]["signal/weight_mean"] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("advantage", "evidence", "expected"),
    [(2.0, 9.0, 2.2), (2.0, -9.0, 1.8), (-2.0, 9.0, -1.8), (-2.0, -9.0, -2.2), (0.0, 9.0, 0.0), (2.0, 0.0, 2.0)],
)
def test_advantages_known_by_hand(advantage, evidence, expected):
    correct = torch.full((2, 3), -1.0, dtype=torch.float64)
    batch = Batch(
        response_mask=torch.ones(2, 3, dtype=torch.bool),
        advantages=torch.full((2,), advantage, dtype=torch.float64),
        old_logprobs=correct,
        correct_logprobs=correct,
        wrong_logprobs=(correct - evidence)[:, None],
        wrong_mask=torch.tensor([[True], [False]]),
        hinted=torch.tensor([True, False]),
    )
    targets = RLSDECTR().targets(batch, "tokens")
    assert targets.advantages.tolist() == [pytest.approx([expected] * 3), [advantage] * 3]
