import math

import pytest
import torch

from selfdistill.objectives.aggregation import AGGREGATIONS
from selfdistill.objectives.batch import Batch
from selfdistill.objectives.opsd import OPSD

SWITCHES = [
    OPSD(top_k=3),
    OPSD(beta=0.5, top_k=3),
    OPSD(beta=0.3, top_k=3, token_clip=None),
    OPSD(beta=1.0, top_k=3, token_clip=0.2),
    OPSD(top_k=3, tail=False),
    OPSD(top_k=0),
    OPSD(beta=0.5, top_k=0, token_clip=None),
    OPSD(),  # 100 ids: the whole vocabulary, and a tail of nothing
    OPSD(full_distribution=False),
    OPSD(full_distribution=False, token_clip=None),
]


def slow_opsd(slow, method, case, aggregation):
    """Spec 2: D_beta(S, T), each id's share clipped; or (lp_T - lp_S)^2, each token's. A mean over hinted rows."""
    places = case.places(hinted=True)
    rows = slow.distilled(case, aggregation)

    def free(at, student):
        if method.full_distribution:
            return slow.divergence(*slow.pair(at, student, method), method.beta)
        return slow.log(at.correct / student[at.sampled]) ** 2

    def value(at, student):
        if method.full_distribution:
            return slow.divergence(*slow.pair(at, student, method), method.beta, method.token_clip)
        over = method.token_clip is not None and free(at, student).real > method.token_clip
        return method.token_clip if over else free(at, student)

    loss = slow.loss(case, slow.shares(places, aggregation, rows), value)
    logged = {
        "signal/divergence_mean": free,
        "signal/clipped_share": lambda at, student: float(complex(value(at, student)).real != free(at, student).real),
        "signal/teacher_gap_abs_mean": lambda at, student: abs(math.log(at.correct / student[at.sampled])),
    }
    return *loss, slow.means(case, {name: (places, function) for name, function in logged.items()})


def test_rewards_play_no_part(random_case, measured):
    case = random_case(1, OPSD(top_k=3).needs)
    turned = case.changed(advantages=-3 * case.batch.advantages, correct=~case.batch.correct)
    loss, gradient, _ = measured(OPSD(top_k=3), case, "tokens")
    found = measured(OPSD(top_k=3), turned, "tokens")
    assert found[0] == loss != 0
    assert torch.equal(found[1], gradient)


def test_the_mean_is_over_hinted_rows_alone(random_case, measured, agree):
    for seed in range(5):
        case = random_case(seed, OPSD(top_k=3).needs)
        alone = (case.batch.hinted & case.batch.kept).nonzero()[:, 0]
        for aggregation in set(AGGREGATIONS) - {"all_rollouts"}:
            loss, gradient, logged = measured(OPSD(top_k=3), case, aggregation)
            assert not gradient[~case.batch.hinted].any()
            agree((loss, gradient[alone], logged), measured(OPSD(top_k=3), case.part(alone), aggregation))


def test_a_step_along_the_gradient_draws_the_student_to_the_teacher(random_case, measured):
    method = OPSD(top_k=0, token_clip=None)
    case = random_case(2, method.needs)
    for _ in range(300):
        loss, gradient, _ = measured(method, case, "tokens")
        case = case.at(case.logits - 5.0 * gradient)
    assert loss < 1e-3
    inside = case.batch.hinted_mask
    gap = case.student().support[inside].exp() - case.batch.correct_support[inside].exp()
    assert gap.abs().max() < 0.05


def test_the_fallback_is_drawn_to_the_teacher_within_its_clip(by_logprobs):
    correct = torch.full((1, 3), -1.0, dtype=torch.float64)
    batch = Batch(
        response_mask=torch.ones(1, 3, dtype=torch.bool),
        advantages=torch.zeros(1),
        old_logprobs=correct,
        correct_logprobs=correct,
        hinted=torch.ones(1, dtype=torch.bool),
    )
    gap = torch.tensor([[0.1, -0.1, 0.5]], dtype=torch.float64)
    loss, slopes = by_logprobs(OPSD(full_distribution=False), batch, correct + gap, "tokens")
    assert loss == pytest.approx((0.01 + 0.01 + 0.05) / 3, rel=1e-6)
    torch.testing.assert_close(3 * slopes, torch.tensor([[0.2, -0.2, 0.0]], dtype=torch.float64), rtol=1e-6, atol=0)
