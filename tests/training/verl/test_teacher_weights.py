"""A teacher's own weights beside a module, whole or sharded by FSDP2 (in one process); no verl is needed."""

import copy

import pytest
import torch
import torch.distributed
from safetensors.torch import load_file
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from selfdistill.errors import UserError
from selfdistill.training.verl.teacher_weights import TeacherWeights

INPUTS = torch.linspace(-1, 1, 24).reshape(4, 6)


class Net(nn.Module):
    """An inner unit of its own, a tied weight, and a scalar in one."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.outer = nn.Linear(6, 6, bias=False)
        self.outer.weight = self.inner.weight
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.outer(torch.tanh(self.inner(x))) * self.scale


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    store = tmp_path_factory.mktemp("store") / "file"
    torch.distributed.init_process_group("cpu:gloo", rank=0, world_size=1, init_method=f"file://{store}")
    yield torch.distributed.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


@pytest.fixture(params=["whole", "sharded", "kept_gathered", "bfloat16"])
def module(request, mesh):
    torch.manual_seed(0)
    net = Net().bfloat16() if request.param == "bfloat16" else Net()
    if request.param not in ("sharded", "kept_gathered"):
        return net
    return fully_shard(
        net,
        mesh=mesh,
        mp_policy=MixedPrecisionPolicy(param_dtype=torch.float32),
        reshard_after_forward=request.param == "sharded",
    )


@torch.no_grad()
def weights(module):
    return {
        name: (p.full_tensor() if hasattr(p, "full_tensor") else p).detach().clone()
        for name, p in module.named_parameters()
    }


def forward(module):
    with torch.no_grad():
        return module(INPUTS.to(next(module.parameters()).dtype)).clone()


@torch.no_grad()
def train(module, by=0.25):
    """What an optimizer does to the weights."""
    forward(module)
    for sub in module.modules():
        if hasattr(sub, "reshard"):
            sub.reshard()
    for p in module.parameters():
        (p.to_local() if hasattr(p, "to_local") else p).add_(by)


def test_swapped_in_weights_are_those_of_the_beginning_and_the_students_come_back(module):
    first, said = weights(module), forward(module)
    teacher = TeacherWeights(module)
    train(module)
    trained, says = weights(module), forward(module)
    assert not torch.equal(said, says)
    for _ in range(2):
        with teacher.swapped_in():
            torch.testing.assert_close(forward(module), said, rtol=0, atol=0)
            assert all(torch.equal(value, first[name]) for name, value in weights(module).items())
        assert torch.equal(forward(module), says)
        assert all(torch.equal(value, trained[name]) for name, value in weights(module).items())


def test_the_students_weights_come_back_behind_an_error(module):
    teacher = TeacherWeights(module)
    train(module)
    trained, says = weights(module), forward(module)

    def scores_that_fail():
        with teacher.swapped_in():
            forward(module)
            raise KeyError("out of memory, say")

    with pytest.raises(KeyError, match="out of memory"):
        scores_that_fail()
    assert all(torch.equal(value, trained[name]) for name, value in weights(module).items())
    assert torch.equal(forward(module), says)


def test_the_students_weights_come_back_where_the_module_was_moved_meanwhile(module):
    """As verl moves offloaded parameters to the GPU for a forward, and back."""
    teacher = TeacherWeights(module)
    train(module)
    trained = weights(module)
    with teacher.swapped_in():
        for p in module.parameters():
            p.data = p.data.clone()
    assert all(torch.equal(value, trained[name]) for name, value in weights(module).items())


def test_a_swap_leaves_gradients_alone(module):
    module(INPUTS.to(next(module.parameters()).dtype)).sum().backward()
    before = {name: p.grad for name, p in module.named_parameters()}
    with TeacherWeights(module).swapped_in():
        forward(module)
    assert all(p.requires_grad and p.grad is before[name] for name, p in module.named_parameters())


def test_blends_are_moving_averages(module):
    """Taken in float32, kept in the parameters' precision."""
    teacher = TeacherWeights(module)
    expected = weights(module)
    for decay in (0.95, 0.99):
        train(module, 0.5)
        for name, value in weights(module).items():
            expected[name] = (decay * expected[name].float() + (1 - decay) * value.float()).to(value.dtype)
        teacher.blend(decay)
    with teacher.swapped_in():
        for name, value in weights(module).items():
            torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("dtype", "reached"), [(torch.float32, 1.0625 - 0.0625 * 0.99**200), (torch.bfloat16, 1.0)])
def test_small_moves_add_up_in_float32_and_are_lost_in_bfloat16(dtype, reached):
    """What docs/departures.md D5 is about: preset as_published keeps teachers in bfloat16, as the release did."""
    net = nn.Linear(1, 1, bias=False).to(dtype)
    with torch.no_grad():
        net.weight.fill_(1.0)
        teacher = TeacherWeights(net)
        net.weight.fill_(1.0625)
    for _ in range(200):
        teacher.blend(0.99)  # by 0.0006 at first: less than half a step of bfloat16 above 1
    with teacher.swapped_in():
        assert net.weight.item() == pytest.approx(reached, rel=1e-5)


def test_a_decay_of_zero_copies(module):
    teacher = TeacherWeights(module)
    train(module)
    trained = weights(module)
    teacher.blend(0.0)
    train(module)
    with teacher.swapped_in():
        assert all(torch.equal(value, trained[name]) for name, value in weights(module).items())


def test_weights_survive_a_file(module, tmp_path):
    teacher = TeacherWeights(module)
    train(module)
    teacher.blend(0.9)
    teacher.save(tmp_path, 0, 1)
    assert [each.name for each in tmp_path.iterdir()] == ["teacher_rank_0_of_1.safetensors"]
    stored = load_file(tmp_path / "teacher_rank_0_of_1.safetensors").values()
    assert {value.dtype for value in stored} == {value.dtype for value in weights(module).values()}
    with teacher.swapped_in():
        expected = forward(module)
    other = TeacherWeights(module)
    other.load(tmp_path, 0, 1)
    with other.swapped_in():
        assert torch.equal(forward(module), expected)


def test_another_number_of_ranks_is_refused(module, tmp_path):
    teacher = TeacherWeights(module)
    teacher.save(tmp_path, 0, 2)
    with pytest.raises(UserError, match=r"rank 0 of 1, but it has teacher_rank_0_of_2\.safetensors"):
        teacher.load(tmp_path, 0, 1)


def test_a_checkpoint_without_a_teacher_is_refused(module, tmp_path):
    with pytest.raises(UserError, match="no teacher's weights at all"):
        TeacherWeights(module).load(tmp_path, 0, 1)


def test_another_models_teacher_is_refused(module, tmp_path):
    TeacherWeights(nn.Linear(6, 6)).save(tmp_path, 0, 1)
    teacher, before = TeacherWeights(module), weights(module)
    with pytest.raises(UserError, match="same model"):
        teacher.load(tmp_path, 0, 1)
    with teacher.swapped_in():
        assert all(torch.equal(value, before[name]) for name, value in weights(module).items())


def test_parameters_of_which_a_rank_has_nothing_are_no_problem(tmp_path):
    net = nn.ParameterDict({"none": nn.Parameter(torch.zeros(0, 3)), "some": nn.Parameter(torch.ones(2))})
    teacher = TeacherWeights(net)
    before = copy.deepcopy(net)
    teacher.save(tmp_path, 1, 4)
    teacher.load(tmp_path, 1, 4)
    with teacher.swapped_in():
        assert torch.equal(net["some"], before["some"])
