"""The engine around the head: what it never holds, what precision it reads in, what it refuses."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

verl = pytest.importorskip("verl")
sys.path.insert(0, str(Path(__file__).parent))

from in_process import TINY, InProcess, InProcessEngine, Options, asking, build_worker, process_group, toy_update
from transformers import Qwen3Config, Qwen3ForCausalLM

from selfdistill.errors import UserError
from selfdistill.scoring.head import read
from selfdistill.scoring.query import LOGPROBS_ONLY
from selfdistill.scoring.scorer import score
from selfdistill.study.teacher_settings import TeacherSettings
from selfdistill.training.verl import head_engine
from selfdistill.training.verl.loss import Loss
from selfdistill.training.verl.wire import pack_update

pytestmark = pytest.mark.verl

V, H, ROWS = 103, 64, 5
SEQUENCES, *UPDATE = toy_update()
POSITIONS = sum(SEQUENCES.lengths)


@pytest.fixture(scope="module", autouse=True)
def group(tmp_path_factory):
    with process_group(tmp_path_factory.mktemp("store") / "file"):
        yield


@pytest.fixture(scope="module")
def plain(group):
    return InProcess()


def gradients(models, **options):
    """Of the toy update, by parameter."""
    engine = models.student.engine
    request = {"temperature": 1.0, "head_rows": ROWS, "use_remove_padding": True, "max_token_len_per_gpu": 60}
    with engine.train_mode():
        engine.optimizer_zero_grad()
        engine.forward_backward_batch(asking(pack_update(SEQUENCES, *UPDATE), **(request | options)), Loss("grpo", {}))
        return {name: p.grad.full_tensor().clone() for name, p in engine.module.named_parameters()}


class Logits(TorchDispatchMode):
    """The largest (n, V) tensor of any operation, and all that are V wide; the weights' own (H, V) view is left out."""

    def __init__(self):
        super().__init__()
        self.rows = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, torch.Tensor) and value.shape[-1:] == (V,) and tuple(value.shape) != (H, V):
                self.rows = max(self.rows, value.numel() // V)
        return out


@pytest.mark.parametrize("packed", [True, False])
def test_no_logits_but_one_chunks_are_ever_held(plain, packed):
    with Logits() as seen:
        gradients(plain, use_remove_padding=packed, max_token_len_per_gpu=10_000)
    assert seen.rows == ROWS


def test_only_positions_that_predict_a_response_reach_the_head(plain, monkeypatch):
    given = []

    def recording(hidden, weight, labels, query, **settings):
        given.append((len(hidden), labels.tolist(), settings["rows"]))
        return read(hidden, weight, labels, query, **settings)

    monkeypatch.setattr(head_engine, "read", recording)
    gradients(plain, max_token_len_per_gpu=10_000)
    words = [token for response in SEQUENCES.responses for token in response]
    assert given == [(len(words), words, ROWS)]
    assert len(words) < POSITIONS


@pytest.mark.parametrize("packed", [True, False])
def test_gradient_checkpointing_changes_no_gradient(plain, packed):
    checkpointed = InProcess(Options(checkpointing=True))
    assert checkpointed.student.engine.module.is_gradient_checkpointing
    assert not plain.student.engine.module.is_gradient_checkpointing
    wanted = gradients(plain, use_remove_padding=packed)
    for name, gradient in gradients(checkpointed, use_remove_padding=packed).items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-5, atol=1e-6)


def test_bfloat16_states_and_weights_are_read_in_float32(plain, monkeypatch):
    """verl's mixed precision, autocast included: only what the model's body rounds is rounded."""
    given = []

    def recording(hidden, weight, labels, query, **settings):
        found = read(hidden, weight, labels, query, **settings)
        given.append((hidden.detach().clone(), weight.detach().clone(), labels, found.logprobs.detach().clone()))
        return found

    half = InProcess(Options(precision="bf16", checkpointing=True))
    monkeypatch.setattr(head_engine, "read", recording)
    found = gradients(half, max_token_len_per_gpu=10_000)
    (hidden, weight, labels, logprobs), *_ = given
    assert (hidden.dtype, weight.dtype, logprobs.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    exact = torch.log_softmax(hidden.double() @ weight.double().t(), dim=-1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(logprobs.double(), exact, rtol=0, atol=2e-5)
    monkeypatch.undo()
    wanted = gradients(plain, max_token_len_per_gpu=10_000)
    for name, gradient in found.items():
        assert gradient.dtype == torch.float32
        assert torch.cosine_similarity(gradient.flatten(), wanted[name].flatten(), dim=0) > 0.98


def test_an_output_layer_of_its_own_is_read_and_learned(tmp_path, group):
    """Weights that are not tied are another path through verl (meta tensors) and through FSDP."""
    torch.manual_seed(0)
    config = Qwen3Config.from_pretrained(TINY)
    config.tie_word_embeddings = False
    model = Qwen3ForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    models = InProcess(Options(model=(("load_tokenizer", False),)), tmp_path)
    scorer = InProcessEngine(models, Loss("grpo", {}), TeacherSettings(kind="live")).scorer("student")
    width = UPDATE[0].response_mask.shape[1]
    found, expected = scorer(SEQUENCES, width), score(model, SEQUENCES, width, 1000)
    mask = UPDATE[0].response_mask
    torch.testing.assert_close(found.logprobs[mask], expected.logprobs[mask], rtol=0, atol=1e-5)
    slopes = gradients(models)
    assert slopes["lm_head.weight"].abs().sum() > 0
    assert not torch.equal(slopes["lm_head.weight"], slopes["model.embed_tokens.weight"])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"engine": {"strategy": "fsdp"}}, "fsdp_config.strategy=fsdp"),
        ({"engine": {"ulysses_sequence_parallel_size": 2}}, "ulysses_sequence_parallel_size"),
        ({"engine": {"pad_to_length": True}}, "pad_to_length"),
        ({"model": {"use_fused_kernels": True}}, "model.use_fused_kernels"),
        ({"model": {"lora_rank": 8}}, "model.lora_rank"),
        ({"model": {"lora_adapter_path": "adapter"}}, "model.lora_adapter_path"),
    ],
)
def test_settings_under_which_the_head_would_be_blind_are_refused(group, changes, named):
    options = Options(**{kind: tuple(values.items()) for kind, values in changes.items()})
    with pytest.raises(UserError, match=named):
        build_worker(TINY, options)


def test_a_model_without_a_linear_output_layer_is_refused(group, monkeypatch):
    monkeypatch.setattr(Qwen3ForCausalLM, "get_output_embeddings", lambda self: None)
    with pytest.raises(UserError, match="no linear output layer"):
        build_worker(TINY, Options())


def test_a_forward_that_nobody_asked_for_is_an_error():
    head = head_engine.ResponseHead(nn.Linear(4, 9))
    with pytest.raises(RuntimeError, match="without a request"):
        head(torch.zeros(1, 3, 4))


def test_a_request_is_good_for_one_forward():
    head = head_engine.ResponseHead(nn.Linear(4, 9))
    head.ask(head_engine._Request(3, torch.tensor([0, 2]), torch.tensor([1, 1]), LOGPROBS_ONLY, {}))
    assert len(head(torch.zeros(1, 3, 4)).logprobs) == 2
    with pytest.raises(RuntimeError, match="without a request"):
        head(torch.zeros(1, 3, 4))


def test_a_forward_of_another_size_is_an_error():
    head = head_engine.ResponseHead(nn.Linear(4, 9))
    head.ask(head_engine._Request(6, torch.tensor([0]), torch.tensor([1]), LOGPROBS_ONLY, {}))
    with pytest.raises(RuntimeError, match="given 3 positions, the forward has 6"):
        head(torch.zeros(1, 3, 4))


def test_an_output_layer_that_is_split_over_ranks_is_refused(group):
    layer = nn.Linear(4, 9, bias=False)
    mesh = init_device_mesh("cpu", (1,))
    layer.weight = nn.Parameter(distribute_tensor(layer.weight.detach(), mesh, [Shard(0)]))
    head = head_engine.ResponseHead(layer)
    head.ask(head_engine._Request(3, torch.tensor([0]), torch.tensor([1]), LOGPROBS_ONLY, {}))
    with pytest.raises(UserError, match="split over ranks"):
        head(torch.zeros(1, 3, 4))
