"""Teachers, checkpoints and sharding around the engine, and verl's own worker with our operations."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

verl = pytest.importorskip("verl")
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "fakes"))

from hydra import compose, initialize_config_module
from in_process import TINY, InProcess, InProcessEngine, Options, asking, process_group, toy_update, weights_of
from safetensors.torch import load_file
from small_run import another
from two_ranks import two_updates
from verl.single_controller.base.decorator import MAGIC_ATTR, Dispatch
from verl.utils import tensordict_utils
from verl.workers.engine_workers import ActorRolloutRefWorker

from selfdistill.errors import UserError
from selfdistill.models.loading import load_model
from selfdistill.scoring.query import Query
from selfdistill.scoring.scorer import score
from selfdistill.study.teacher_settings import TeacherSettings
from selfdistill.training.verl.loss import Loss
from selfdistill.training.verl.wire import pack_scores_request, pack_update, sums_of, unpack_scores
from selfdistill.training.verl.worker import SelfDistillWorker

pytestmark = pytest.mark.verl

SEQUENCES, *UPDATE = toy_update()
MASK = UPDATE[0].response_mask
RATE = 1e-2


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    with process_group(tmp_path_factory.mktemp("store") / "file"):
        yield


def engine_of(models, **teacher):
    return InProcessEngine(models, Loss("grpo", {}), TeacherSettings(**teacher))


def logprobs(engine, who):
    return engine.scorer(who)(SEQUENCES, MASK.shape[1]).logprobs


def optimizer_of(models):
    states = models.student.engine.optimizer.state_dict()["state"]
    return [(v.full_tensor() if hasattr(v, "full_tensor") else v) for s in states.values() for v in s.values()]


def unchanged(models, weights):
    return all(torch.equal(value, weights[name]) for name, value in weights_of(models).items())


@pytest.mark.parametrize("reshard", [True, False])
def test_a_snapshot_follows_at_its_interval_and_the_initial_weights_never(group, reshard):
    models = InProcess(Options(engine=(("reshard_after_forward", reshard),)), with_initial=True)
    engine = engine_of(models, kind="snapshot", sync_interval=2)
    first = logprobs(engine, "student")
    assert torch.equal(logprobs(engine, "teacher"), first)
    engine.update(SEQUENCES, *UPDATE, RATE)
    engine.tick("training_steps")
    student, weights = logprobs(engine, "student"), weights_of(models)
    assert (student - first)[MASK].abs().max() > 0.1
    assert torch.equal(logprobs(engine, "teacher"), first)
    assert torch.equal(logprobs(engine, "student"), student)
    assert unchanged(models, weights)
    engine.tick("training_steps")
    assert torch.equal(logprobs(engine, "teacher"), student)
    engine.update(SEQUENCES, *UPDATE, RATE)
    assert not torch.equal(logprobs(engine, "student"), student)
    assert torch.equal(logprobs(engine, "teacher"), student)
    torch.testing.assert_close(logprobs(engine, "initial"), first, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("share", "packed"), [(0.0, True), (0.3, True), (0.3, False), (1.0, True)])
def test_a_trust_region_mixes_the_initial_logits_and_the_students(group, share, packed):
    """Read in every way that a method asks, against mixtures of whole distributions; at the ends, one model alone."""
    models = InProcess(Options(packed=packed), with_initial=True)
    engine = engine_of(models, kind="trust_region", student_share=share)
    first = logprobs(engine, "teacher")
    torch.testing.assert_close(first, logprobs(engine, "student"), rtol=0, atol=1e-5)
    engine.update(SEQUENCES, *UPDATE, RATE)
    weights, width = weights_of(models), MASK.shape[1]

    def read(who, query):
        return engine.scorer(who)(SEQUENCES, width, query)

    student, initial, teacher = (read(who, Query(top_k=0)) for who in ("student", "initial", "teacher"))
    mixed = torch.lerp(initial.support, student.support, share).log_softmax(dim=-1)
    torch.testing.assert_close(teacher.support[MASK], mixed[MASK], rtol=0, atol=2e-5)
    few = read("teacher", Query(ids=student.support.topk(5, dim=-1).indices, entropy=True))
    torch.testing.assert_close(few.logprobs, teacher.logprobs, rtol=0, atol=2e-5)
    entropy = -(mixed.exp() * mixed).sum(dim=-1)
    torch.testing.assert_close(few.entropy[MASK], entropy[MASK], rtol=0, atol=1e-4)
    for end, other in ((0.0, initial), (1.0, student)):
        if share == end:
            torch.testing.assert_close(teacher.logprobs, other.logprobs, rtol=0, atol=1e-5)
    assert (student.logprobs - initial.logprobs)[MASK].abs().max() > 0.1
    assert unchanged(models, weights)


def test_a_moving_average_says_what_a_model_with_averaged_weights_says(group):
    models = InProcess()
    engine = engine_of(models, kind="ema", ema_decay=0.75)
    first = weights_of(models)
    engine.update(SEQUENCES, *UPDATE, RATE)
    engine.tick("training_steps")
    mean = {name: 0.75 * first[name] + 0.25 * value for name, value in weights_of(models).items()}
    says = logprobs(engine, "teacher")
    other = InProcess()
    with torch.no_grad():
        for name, p in other.student.engine.module.named_parameters():
            p.to_local().copy_(mean[name])
    torch.testing.assert_close(says, logprobs(engine_of(other, kind="live"), "student"), rtol=0, atol=1e-5)


def test_teachers_scores_between_updates_disturb_no_update(group):
    alone, watched = InProcess(), InProcess()
    engine, other = engine_of(alone, kind="none"), engine_of(watched, kind="ema")
    for _ in range(3):
        engine.update(SEQUENCES, *UPDATE, RATE)
        other.update(SEQUENCES, *UPDATE, RATE)
        other.tick("training_steps")
        logprobs(other, "teacher")
    assert unchanged(watched, weights_of(alone))


def test_a_live_teacher_is_the_student(group):
    models = InProcess()
    engine = engine_of(models, kind="live")
    engine.update(SEQUENCES, *UPDATE, RATE)
    assert torch.equal(logprobs(engine, "teacher"), logprobs(engine, "student"))


def test_a_failing_forward_under_the_teacher_leaves_the_student_in_place(group):
    models = InProcess()
    engine = engine_of(models, kind="snapshot")
    engine.update(SEQUENCES, *UPDATE, RATE)
    weights = weights_of(models)
    models.student.engine._head.ask = lambda request: None  # the model will complain
    with pytest.raises(RuntimeError, match="without a request"):
        logprobs(engine, "teacher")
    assert unchanged(models, weights)


def test_teachers_that_are_none_are_not_asked(group):
    models = InProcess()
    with pytest.raises(UserError, match=r"'frozen'.*local trainer"):
        models.create_teacher("frozen")
    models.create_teacher("initial")
    with pytest.raises(RuntimeError, match="'initial' is not to be asked here"):
        models.score_teacher(pack_scores_request(SEQUENCES))
    with pytest.raises(RuntimeError, match="no weights of its own"):
        models.blend_teacher(0.5)


def test_a_run_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(group, tmp_path):
    models = InProcess()
    engine = engine_of(models, kind="ema", ema_decay=0.5)
    for _ in range(2):
        engine.update(SEQUENCES, *UPDATE, RATE)
        engine.tick("training_steps")
    models.save(tmp_path)
    assert (tmp_path / "teacher_rank_0_of_1.safetensors").is_file()

    resumed = InProcess()
    other = engine_of(resumed, kind="ema", ema_decay=0.5)
    other.update(SEQUENCES, *UPDATE, 10 * RATE)  # what a load must undo, the teacher's share included
    other.tick("training_steps")
    resumed.load(tmp_path)
    assert unchanged(resumed, weights_of(models))
    assert torch.equal(logprobs(other, "teacher"), logprobs(engine, "teacher"))
    for each in (engine, other):
        each.update(SEQUENCES, *UPDATE, 0.5 * RATE)
        each.tick("training_steps")
    assert unchanged(resumed, weights_of(models))
    for ours, theirs in zip(optimizer_of(resumed), optimizer_of(models), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(logprobs(other, "teacher"), logprobs(engine, "teacher"))


def test_a_checkpoint_that_lacks_the_teacher_is_refused_before_anything_changes(group, tmp_path):
    models = InProcess()
    models.save(tmp_path)
    assert not list(tmp_path.glob("teacher*"))
    engine = engine_of(models, kind="snapshot")
    engine.update(SEQUENCES, *UPDATE, RATE)
    weights = weights_of(models)
    with pytest.raises(UserError, match="no teacher's weights at all"):
        models.load(tmp_path)
    assert unchanged(models, weights)


@pytest.fixture
def real_worker(group):
    """verl's worker as Ray would hold it, in the role of a trainer without a rollout."""
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose(
            "ppo_trainer",
            overrides=[
                f"actor_rollout_ref.model.path={TINY}",
                "+actor_rollout_ref.model.override_config.attn_implementation=sdpa",
                "actor_rollout_ref.actor.strategy=fsdp2",
                "actor_rollout_ref.actor.use_dynamic_bsz=True",
                "actor_rollout_ref.actor.ppo_max_token_len_per_gpu=60",
                "actor_rollout_ref.actor.fsdp_config.use_torch_compile=False",
                "+actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype=fp32",
                "+actor_rollout_ref.ref.fsdp_config.mixed_precision.param_dtype=fp32",
                "actor_rollout_ref.rollout.name=vllm",
                "actor_rollout_ref.rollout.log_prob_use_dynamic_bsz=True",
                "actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu=60",
            ],
        )
    worker = SelfDistillWorker(config.actor_rollout_ref, role="actor")
    worker.init_model()
    worker.set_loss_fn(Loss("grpo", {}))
    return worker


def test_verls_own_worker_does_the_same(real_worker, tmp_path):
    models = InProcess(Options(budget=60))
    engine = engine_of(models, kind="snapshot")

    def scores(who):
        data = asking(pack_scores_request(SEQUENCES), **engine.request)
        return unpack_scores(getattr(real_worker, f"score_{who}")(data), MASK.shape[1]).logprobs

    real_worker.create_teacher("snapshot")
    first = logprobs(engine, "student")
    data = asking(pack_update(SEQUENCES, *UPDATE), learning_rate=RATE, **engine.request)
    found = sums_of(tensordict_utils.get(real_worker.update(data), "metrics"))
    assert found == engine.update(SEQUENCES, *UPDATE, RATE)
    torch.testing.assert_close(scores("student"), logprobs(engine, "student"), rtol=0, atol=1e-6)
    torch.testing.assert_close(scores("teacher"), first, rtol=0, atol=1e-6)
    real_worker.save_checkpoint(str(tmp_path), None, 1, None)
    real_worker.blend_teacher(0.0)
    torch.testing.assert_close(scores("teacher"), scores("student"), rtol=0, atol=0)
    real_worker.load_checkpoint(str(tmp_path))
    torch.testing.assert_close(scores("teacher"), first, rtol=0, atol=1e-6)


def test_another_model_is_held_beside_the_student(real_worker, tmp_path):
    """From its own folder, forward only, and in no checkpoint."""
    model, tokenizer = load_model(TINY, torch.device("cpu"))
    other = another(model)
    other.save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    real_worker.create_teacher("external")
    for role in ("teacher", "reference"):
        assert real_worker.add_external(role, str(tmp_path / "other")) == 103
        data = asking(pack_scores_request(SEQUENCES), temperature=1.0, head_rows=7)
        found = unpack_scores(getattr(real_worker, f"score_external_{role}")(data), MASK.shape[1]).logprobs
        expected = score(other, SEQUENCES, MASK.shape[1], 10_000).logprobs
        torch.testing.assert_close(found[MASK], expected[MASK], rtol=0, atol=1e-5)
    student = score(model, SEQUENCES, MASK.shape[1], 10_000).logprobs
    assert (expected - student)[MASK].abs().max() > 0.05
    real_worker.save_checkpoint(str(tmp_path / "checkpoint"), None, 1, None)
    assert not list((tmp_path / "checkpoint").glob("teacher*"))


@pytest.mark.parametrize(
    ("name", "mesh"),
    [
        ("score_student", "actor"),
        ("score_teacher", "actor"),
        ("update", "actor"),
        ("score_initial", "ref"),
        ("score_external_teacher", "external_teacher"),
        ("score_external_reference", "external_reference"),
        ("add_external", None),
        ("init_model", None),
        ("create_teacher", None),
        ("blend_teacher", None),
        ("save_checkpoint", None),
        ("load_checkpoint", None),
    ],
)
def test_operations_are_spread_over_the_ranks_of_their_model(name, mesh):
    mode = getattr(getattr(SelfDistillWorker, name), MAGIC_ATTR)["dispatch_mode"]
    assert mode == Dispatch.ONE_TO_ALL if mesh is None else mode["dispatch_fn"].args == (mesh,)


def test_initial_weights_are_asked_by_the_worker_that_has_them(monkeypatch):
    monkeypatch.setattr(ActorRolloutRefWorker, "init_model", lambda self: None)
    worker = object.__new__(SelfDistillWorker)
    worker.config = SimpleNamespace(actor={})
    worker.actor, worker.ref = None, SimpleNamespace(infer_batch=lambda data: ("scored", data["compute_loss"]))
    worker.init_model()
    assert worker.score_initial(pack_scores_request(SEQUENCES)) == ("scored", False)


def test_two_ranks_do_together_what_one_does_alone(group, tmp_path):
    script = Path(__file__).with_name("two_ranks.py")
    ranks = [subprocess.Popen([sys.executable, script, str(rank), "2", tmp_path]) for rank in range(2)]
    try:
        assert [rank.wait(timeout=900) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    models = InProcess(Options(budget=40), with_initial=True)
    expected = two_updates(models, 0, 1) | weights_of(models)
    for who in ("student", "teacher", "initial"):
        for form in ("padded", "packed"):
            torch.testing.assert_close(expected[f"{who}_{form}_1"], expected[f"{who}_1"], rtol=0, atol=1e-5)
    for reshard in (True, False):
        found = [load_file(tmp_path / f"{reshard}_{rank}.safetensors") for rank in range(2)]
        for name, value in expected.items():
            first, second = (each[name] for each in found)
            if name.startswith(("student_", "teacher_", "initial_")):
                torch.testing.assert_close(torch.cat([first, second]), value, rtol=0, atol=2e-4)
            else:
                assert torch.equal(first, second)
                torch.testing.assert_close(first, value, rtol=1e-5, atol=2e-5)
    names = sorted(each.name for each in (tmp_path / "checkpoint").glob("teacher*"))
    assert names == ["teacher_rank_0_of_2.safetensors", "teacher_rank_1_of_2.safetensors"]
    models.create_teacher("snapshot")
    with pytest.raises(UserError, match="rank 0 of 1, but it has teacher_rank_0_of_2"):
        models.load(tmp_path / "checkpoint")
