import pytest
import torch

from selfdistill.scoring.query import LOGPROBS_ONLY, Query

IDS = torch.arange(24).reshape(2, 4, 3)


@pytest.mark.parametrize(
    ("query", "has_support", "model_chooses", "full_vocabulary"),
    [
        (LOGPROBS_ONLY, False, False, False),
        (Query(entropy=True), False, False, False),
        (Query(top_k=0), True, False, True),
        (Query(top_k=3), True, True, False),
        (Query(ids=IDS), True, False, False),
        (Query(top_k=3, ids=IDS), True, False, False),
        (Query(top_k=0, ids=IDS), True, False, False),
    ],
)
def test_given_ids_come_before_any_choice(query, has_support, model_chooses, full_vocabulary):
    assert (query.has_support, query.model_chooses, query.full_vocabulary) == (
        has_support,
        model_chooses,
        full_vocabulary,
    )


def test_a_part_has_its_own_ids_and_asks_for_the_same():
    part = Query(top_k=3, ids=IDS, entropy=True).part([1])
    assert torch.equal(part.ids, IDS[[1]])
    assert (part.top_k, part.entropy) == (3, True)
    assert Query(top_k=3).part([1]).ids is None
