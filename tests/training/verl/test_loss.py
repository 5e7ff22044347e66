"""The loss as verl ships and calls it; what it amounts to is in test_parity."""

import pickle
import sys
from pathlib import Path

import pytest
import torch

verl = pytest.importorskip("verl")
sys.path.insert(0, str(Path(__file__).parent))

from in_process import asking, toy_update

from selfdistill.errors import UserError
from selfdistill.objectives import grpo
from selfdistill.training.verl import loss as module
from selfdistill.training.verl.loss import Loss
from selfdistill.training.verl.wire import pack_update, ragged

pytestmark = pytest.mark.verl

SEQUENCES, *UPDATE = toy_update()
LENGTHS = torch.tensor([len(response) for response in SEQUENCES.responses])


def called(loss, ranks=1):
    """The loss of the toy update at log-probs near the old ones."""
    data = asking(pack_update(SEQUENCES, *UPDATE), dp_size=ranks)
    return loss({"log_probs": ragged(UPDATE[0].old_logprobs + 0.1, LENGTHS)}, data, dp_group=None)


def test_it_arrives_as_it_was_sent_also_once_it_was_called():
    loss = Loss("grpo", {"epsilon_high": 0.05})
    value, metrics = called(loss)
    arrived = pickle.loads(pickle.dumps(loss))
    assert arrived == loss
    again, same = called(arrived)
    assert torch.equal(again, value)
    assert same == metrics
    assert not torch.equal(called(Loss("grpo", {}))[0], value)


def test_fsdps_mean_over_ranks_is_undone_and_the_sums_are_left_alone():
    (one, sums), (four, same) = called(Loss("grpo", {}), 1), called(Loss("grpo", {}), 4)
    assert torch.equal(4 * one, four)
    assert sums == same
    assert sums["sums"]["actor/loss"] == (float(one), int(LENGTHS.sum()))


def test_its_method_is_built_once(monkeypatch):
    built = []
    monkeypatch.setattr(module, "build_method", lambda *args: built.append(args) or grpo.GRPO())
    loss = Loss("grpo", {})
    assert not built
    called(loss)
    called(loss)
    assert built == [("grpo", {})]


def test_an_unknown_method_is_refused():
    with pytest.raises(UserError, match="unknown method 'gpro'"):
        called(Loss("gpro", {}))
