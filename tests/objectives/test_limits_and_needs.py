"""What methods become where their modulation is off, and what each asks of a trainer."""

import pytest
import torch

from selfdistill.objectives.aggregation import AGGREGATIONS
from selfdistill.objectives.batch import Needs, Support
from selfdistill.objectives.grpo import GRPO
from selfdistill.objectives.opsd import OPSD
from selfdistill.objectives.rlcsd import RLCSD
from selfdistill.objectives.rlsd import RLSD
from selfdistill.objectives.rlsd_add import RLSDAdd
from selfdistill.objectives.rlsd_ectr import RLSDECTR
from selfdistill.objectives.rlsd_hybrid import RLSDHybrid
from selfdistill.objectives.sdpo import SDPO
from selfdistill.objectives.srpo import SRPO

#: At step 4, on a decay of three steps too.
OFF = [
    *(RLCSD(lam=0.0, eta=0.3), RLCSD(beta=0.0, eta=0.3), RLSD(lam=0.0), RLSD(lam_decay_steps=3)),
    *(RLSD(lam=0.0, lam_decay_steps=0, form="minimum"), RLSD(lam_decay_steps=3, form="minimum")),
    *(RLSDECTR(lam=0.0), RLSDECTR(lam_decay_steps=3), RLSDAdd(lam=0.0), RLSDAdd(lam_decay_steps=3)),
]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("method", OFF, ids=str)
def test_without_modulation_it_is_the_plain_clipped_surrogate(random_case, measured, method, aggregation):
    for seed in range(6):
        case = random_case(seed, method.needs).changed(step=4)
        loss, gradient, logged = measured(method, case, aggregation)
        plain, slope, _ = measured(GRPO(dual_clip=1e12), case, aggregation)
        assert loss == plain
        assert torch.equal(gradient, slope)
        assert not logged.get("signal/selected_share")
        assert logged.get("signal/lam", 0) == 0


HINT, CONTRAST = {"correct_hint": True}, {"correct_hint": True, "wrong_hints": True, "mixed_groups": True}
ONE_SIDED = {"correct_hint": True, "mixed_groups": True, "current_logprobs": True}
SELF = {**HINT, "wrong_only": True, "teacher_entropy": True}
NEEDS = [
    (RLCSD(), CONTRAST),
    (RLCSD(one_sided=True), ONE_SIDED),
    (RLSDECTR(), CONTRAST),
    *((method, HINT) for method in (RLSD(), RLSDAdd(), RLSDHybrid())),
    (OPSD(), {**HINT, "support": Support("teacher", 100)}),
    (OPSD(top_k=0), {**HINT, "support": Support("teacher", 0)}),
    (OPSD(full_distribution=False), HINT),
    (SDPO(), {**HINT, "support": Support("student", 100)}),
    (SDPO(top_k=0), {**HINT, "support": Support("student", 0)}),
    (SDPO(alpha=1.0, full_distribution=False), HINT),
    (SRPO(), {**SELF, "support": Support("student", 100)}),
    (SRPO(top_k=0, routing="advantage_sign"), {**SELF, "wrong_only": False, "support": Support("student", 0)}),
]


@pytest.mark.parametrize(("method", "needs"), NEEDS, ids=[str(method) for method, _ in NEEDS])
def test_what_a_method_needs(method, needs):
    assert vars(method.needs) == vars(Needs(**needs))
