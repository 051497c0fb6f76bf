"""The step of several tasks against the model's own step, naive gradients, and runs without the faulty part."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from small import CLASSES, batch, part, plain_model, sgd, shared_model, spoilt
from torch import Tensor, nn
from two_processes import in_two_processes

from interngv.engine import AmpOptimWrapper
from interngv.engine.multi_task import SourceBatch
from interngv.engine.multi_task.faults import Guard
from interngv.engine.multi_task.gradients import Gradients
from interngv.engine.multi_task.step import StepReport, TaskStep
from interngv.errors import UserError

TASKS = list(CLASSES)


def both(step: int, **rest: Any) -> dict[str, Any]:
    return {task: part(task, step, **rest) for task in TASKS}


def state(model: nn.Module, wrapper: OptimWrapper) -> dict[str, Any]:
    """All that training changes, as a flat dict."""
    optimizer = wrapper.state_dict()
    momenta = {f"momentum.{i}": one["momentum_buffer"] for i, one in optimizer["state"].items()}
    return model.state_dict() | momenta | {"scaler": optimizer.get("loss_scaler"), "count": wrapper.inner_count}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    differ = [k for k, v in expected.items() if not (torch.equal(found[k], v) if torch.is_tensor(v) else found[k] == v)]
    assert differ == []


def naive(model: Any, parts: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Each part's gradient of the weighted loss by parameter, on a copy of the model."""
    model = copy.deepcopy(model).train()
    grads = {}
    for task, one in parts.items():
        model.zero_grad()
        losses = model(**model.preprocess(task, one.data, True), mode="loss", task=task)
        (model.loss_weights[task] * model.tasks[task].parse_losses(losses)[0]).backward()
        grads[task] = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return grads


def flat(grads: dict[str, Tensor], prefix: str = "") -> Tensor:
    return torch.cat([grad.flatten() for name, grad in grads.items() if name.startswith(prefix)])


# One part


def scaled_amp(optimizer: torch.optim.Optimizer, **rest: Any) -> AmpOptimWrapper:
    """Mixed precision with a loss scale, and gradients that overflow as float16 does: at first all of them."""
    wrapper = AmpOptimWrapper(optimizer=optimizer, **rest)
    wrapper.loss_scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30, growth_interval=5, backoff_factor=2.0**-4)
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.register_hook(lambda grad: grad.half().float())
    return wrapper


WRAPPERS = {
    "plain": OptimWrapper,
    "clipping": lambda **kwargs: OptimWrapper(clip_grad=dict(max_norm=0.05), **kwargs),
    "accumulating": lambda **kwargs: OptimWrapper(accumulative_counts=3, **kwargs),
    "bfloat16": AmpOptimWrapper,
    "scaled": scaled_amp,
    "scaled-accumulating": lambda **kwargs: scaled_amp(accumulative_counts=2, clip_grad=dict(max_norm=1.0), **kwargs),
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_one_part_is_the_models_own_step_to_the_bit(kind: str) -> None:
    ours, theirs = plain_model(), plain_model()
    our_wrapper, their_wrapper = sgd(ours, WRAPPERS[kind]), sgd(theirs, WRAPPERS[kind])
    task_step = TaskStep()
    start = copy.deepcopy(ours.state_dict())
    for step in range(14):
        report = task_step.step(ours, dict(all=part("digit", step)), our_wrapper).sources["all"]
        log = theirs.train_step(batch("digit", step), their_wrapper)
        assert report.loss == log.pop("loss").item() and report.terms == {name: v.item() for name, v in log.items()}
        assert_same(state(ours, our_wrapper), state(theirs, their_wrapper))
    assert not torch.equal(ours.head[1].weight, start["head.1.weight"])
    if "scaled" in kind:
        assert our_wrapper.loss_scaler.get_scale() < 2.0**24 and our_wrapper.inner_count == 14


def test_one_task_of_several_is_the_shared_models_own_step_to_the_bit() -> None:
    ours, theirs = (shared_model(loss_weights=dict(parity=0.25)) for _ in range(2))
    our_wrapper, their_wrapper = sgd(ours), sgd(theirs)
    task_step = TaskStep()
    for step in range(6):
        task = TASKS[step % 2]
        task_step.step(ours, {task: part(task, step)}, our_wrapper)
        theirs.train_step({task: batch(task, step)}, their_wrapper)
        assert_same(state(ours, our_wrapper), state(theirs, their_wrapper))


# Several parts


@pytest.mark.parametrize("accumulative_counts", [1, 3])
def test_several_parts_make_one_step_with_the_sum_of_their_gradients(accumulative_counts: int) -> None:
    ours, theirs = (shared_model(loss_weights=dict(parity=0.25)) for _ in range(2))
    our_wrapper, their_wrapper = (sgd(model, accumulative_counts=accumulative_counts) for model in (ours, theirs))
    for model, wrapper in ((ours, our_wrapper), (theirs, their_wrapper)):
        wrapper.initialize_count_status(model, 0, 5)  # the last accumulation has fewer steps than the others
    task_step = TaskStep()
    for step in range(5):
        report = task_step.step(ours, both(step), our_wrapper)
        log = theirs.train_step({task: batch(task, step) for task in TASKS}, their_wrapper)
        assert report.loss == pytest.approx(log["loss"].item(), rel=1e-6)
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-5, atol=1e-6)
    assert our_wrapper.inner_count == 5


def test_the_report_has_the_norms_on_the_trunk() -> None:
    model = shared_model(loss_weights=dict(parity=0.25))
    expected = naive(model, both(0))
    report = TaskStep().step(model, both(0), sgd(model, accumulative_counts=4))
    for task in TASKS:
        norm = flat(expected[task], "trunk.").norm()
        assert report.sources[task].grad_norm == pytest.approx(float(norm), rel=1e-5)
        assert flat(expected[task]).norm() > 1.01 * norm
    assert [(one.task, one.size, one.skipped) for one in report.sources.values()] == [(t, 16, None) for t in TASKS]


def test_norms_are_measured_once_in_a_stretch_of_steps_and_wherever_they_are_clipped() -> None:
    model = shared_model()
    wrapper, task_step = sgd(model), TaskStep(clip=dict(digit=dict(max_norm=0.1)), norm_every=4)
    is_drawn = [step % 4 in (1, 2) for step in range(12)]  # of the parity, which no step at the head of a stretch has
    for step, drawn in enumerate(is_drawn):
        sources = task_step.step(model, both(step) if drawn else dict(digit=part("digit", step)), wrapper).sources
        assert sources["digit"].grad_norm > 0
        if drawn:
            assert (sources["parity"].grad_norm is not None) == (step % 4 == 1)
    with pytest.raises(UserError, match="norm_every=0: expected a number of steps"):
        TaskStep(norm_every=0)


@pytest.mark.parametrize(("counts", "steps"), [(2, 4), (4, 6)])
def test_norms_are_those_of_the_unscaled_gradient_up_to_the_last_step_of_an_accumulation(
    counts: int, steps: int
) -> None:
    model = shared_model()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.0), accumulative_counts=counts)
    wrapper.initialize_count_status(model, 0, steps)
    task_step = TaskStep(clip=dict(max_norm=1e9))
    for step in range(steps):
        expected = flat(naive(model, both(step))["digit"], "trunk.").norm()
        report = task_step.step(model, both(step), wrapper)
        assert report.sources["digit"].grad_norm == pytest.approx(float(expected), rel=1e-4)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_gradient_whose_norm_overflows_is_left_out_and_one_of_no_parameter_is_zero() -> None:
    model = shared_model()
    hook = model.tasks["digit"].head[1].bias.register_hook(lambda grad: torch.full_like(grad, 3e38))
    report = TaskStep().step(model, both(0), sgd(model)).sources
    assert (report["digit"].skipped, report["parity"].skipped) == ("non-finite", None)
    hook.remove()
    frozen = shared_model().trunk.requires_grad_(False)
    nothing = [None] * len(list(frozen.parameters()))
    gradients = Gradients(list(frozen.parameters()), frozen.parameters())
    assert gradients.faulty(nothing) == 0 and gradients.norms(nothing).tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [1.0, float("inf"), float("-inf"), float("nan")])
def test_any_value_that_is_not_finite_is_found_and_none_is_changed(dtype: torch.dtype, value: float) -> None:
    params = [torch.nn.Parameter(torch.zeros(3, 5)), torch.nn.Parameter(torch.zeros(7, dtype=dtype))]
    grads = [torch.randn(3, 5), torch.tensor([-0.0, 1e-7, 2.0, value, 0.5, -3.0, 1e-5]).to(dtype)]
    before = [grad.clone() for grad in grads]
    found = Gradients(params, params).faulty(grads)
    assert float(found) == (0.0 if value == 1.0 else 1.0)
    assert all(torch.equal(a, b) or value != value for a, b in zip(grads, before, strict=True))


@pytest.mark.parametrize("clip", [dict(max_norm=0.1), dict(digit=dict(max_norm=0.1))])
def test_each_tasks_gradient_is_limited_before_they_are_added(clip: dict) -> None:
    model = shared_model()
    before = copy.deepcopy(model)
    grads = naive(model, both(0))
    limited = [task for task in TASKS if "max_norm" in clip or task in clip]
    for task in limited:
        norm = flat(grads[task]).norm()
        assert norm > 0.11
        grads[task] = {name: grad * 0.1 / (norm + 1e-6) for name, grad in grads[task].items()}
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0))
    report = TaskStep(clip=clip).step(model, both(0), wrapper)
    for name, value in before.named_parameters():
        total = sum(grads[task].get(name, torch.zeros(())) for task in TASKS)
        torch.testing.assert_close(model.get_parameter(name), value - total)
    assert report.sources["digit"].grad_norm > 0.1


@pytest.mark.parametrize("clip", [dict(max_norm=0), dict(digit=1.0), dict(max_norm=1.0, norm_type=2), dict(digit={})])
def test_a_clip_without_a_norm_is_refused(clip: dict) -> None:
    with pytest.raises(UserError, match="max_norm=NUMBER"):
        TaskStep(clip=clip)


# Faults


@contextmanager
def faulty(fault: str, model: Any, digits: SourceBatch) -> Iterator[None]:
    """The digits' batch has a pixel, their last layer an infinite gradient, or their loss an infinite term."""
    host = model.tasks["digit"]
    with pytest.MonkeyPatch.context() as patch:
        if fault == "picture":
            spoilt(digits)
        elif fault == "loss":
            patch.setattr(
                host, "parse_losses", lambda losses: (type(host).parse_losses(host, losses)[0] + torch.inf, {})
            )
        hook = host.head[1].bias.register_hook(lambda grad: grad * torch.inf if fault == "gradient" else grad)
        yield
        hook.remove()


@pytest.mark.parametrize("fault", ["picture", "gradient", "loss"])
@pytest.mark.parametrize("accumulative_counts", [1, 2])
def test_a_faulty_part_is_as_if_it_were_not_there(fault: str, accumulative_counts: int) -> None:
    ours, theirs = shared_model(), shared_model()
    wrappers = [sgd(model, accumulative_counts=accumulative_counts) for model in (ours, theirs)]
    ours_step, theirs_step = TaskStep(), TaskStep()
    for step in range(8):
        parts = both(step)
        theirs_step.step(theirs, {"parity": parts["parity"]} if step in (3, 4) else both(step), wrappers[1])
        with faulty(fault, ours, parts["digit"]) if step in (3, 4) else nullcontext():
            report = ours_step.step(ours, parts, wrappers[0])
        skipped = {task: one.skipped for task, one in report.sources.items()}
        assert skipped == dict(digit="non-finite" if step in (3, 4) else None, parity=None)
        assert_same(state(ours, wrappers[0]), state(theirs, wrappers[1]))
    assert all(value.isfinite().all() for value in ours.state_dict().values())


def test_a_step_whose_only_part_is_faulty_changes_nothing_but_the_count() -> None:
    model = shared_model()
    wrapper = sgd(model)
    task_step = TaskStep()
    task_step.step(model, dict(digit=part("digit", 0)), wrapper)
    before = copy.deepcopy(state(model, wrapper))
    report = task_step.step(model, dict(digit=spoilt(part("digit", 1))), wrapper)
    assert report.loss is None and report.sources["digit"].skipped == "non-finite"
    assert_same(state(model, wrapper), before | {"count": 2})
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_spike_is_left_out_with_its_statistics() -> None:
    ours, theirs = shared_model(), shared_model()
    wrappers = sgd(ours), sgd(theirs)
    steps = TaskStep(guard=Guard(spike=dict(window=8, threshold=10.0))), TaskStep()
    for step in range(12):
        parts = both(step)
        if step == 10:
            parts["digit"].data["inputs"] *= 1e4
            parts["digit"].data["data_samples"] = 9 - parts["digit"].data["data_samples"]
            ours.tasks["digit"].head[1].weight.data *= 1e3
            theirs.tasks["digit"].head[1].weight.data *= 1e3
        report = steps[0].step(ours, parts, wrappers[0])
        assert report.sources["digit"].skipped == ("spike" if step == 10 else None)
        steps[1].step(theirs, {"parity": parts["parity"]} if step == 10 else parts, wrappers[1])
        assert_same(state(ours, wrappers[0]), state(theirs, wrappers[1]))
        if step == 10:
            break


# Conflicts


def cosine(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    return float(torch.nn.functional.cosine_similarity(flat(a, "trunk."), flat(b, "trunk."), dim=0))


def test_conflict_is_the_cosine_on_the_trunk_of_the_steps_parts() -> None:
    model = shared_model()
    wrapper = sgd(model)
    task_step = TaskStep(conflict_every=2)
    for step in range(4):
        grads = naive(model, both(step))
        found = task_step.step(model, both(step), wrapper).conflicts
        expected = {"digit-parity": pytest.approx(cosine(*grads.values()), abs=1e-5)} if step % 2 else {}
        assert found == expected


def test_conflict_of_single_parts_is_with_the_last_gradient_of_every_other() -> None:
    model = shared_model()
    wrapper = sgd(model)
    task_step = TaskStep(conflict_every=3)
    last: dict[str, dict[str, Tensor]] = {}
    sequence = ["digit", "digit", "parity", "parity", "parity", "digit"]
    for step, task in enumerate(sequence):
        parts = {task: part(task, step)}
        last |= naive(model, parts)
        found = task_step.step(model, parts, wrapper).conflicts
        assert found == ({"digit-parity": pytest.approx(cosine(*last.values()), abs=1e-5)} if step in (2, 5) else {})


def test_conflicts_need_gradients_in_one_process() -> None:
    with pytest.raises(UserError, match="schedule 'rank'"):
        TaskStep(conflict_every=5, rank_tasks=dict(a="a"))


# Two processes


def wrapped(model: nn.Module) -> MMDistributedDataParallel:
    return MMDistributedDataParallel(model, device_ids=None, broadcast_buffers=False, find_unused_parameters=True)


def schedule(name: str, step: int) -> list[str]:
    return TASKS if name == "joint" else [TASKS[step % 3 % 2]]


def train(name: str, rank: int = 0, world: int = 1, **rest: Any) -> tuple[Any, list[StepReport]]:
    model = shared_model(norm=False)
    wrapper = sgd(model, **rest)
    inner, model = model, (wrapped(model) if world > 1 else model)
    task_step = TaskStep(clip=dict(digit=dict(max_norm=0.5)))
    size = 16 // world
    steps = [{task: part(task, step, size, rank, world) for task in schedule(name, step)} for step in range(7)]
    return inner, [task_step.step(model, parts, wrapper) for parts in steps]


def train_as(rank: int, name: str, rest: dict) -> dict:
    model, reports = train(name, rank, 2, **rest)
    norms = [[one.grad_norm for one in report.sources.values()] for report in reports]
    losses = [[one.loss for one in report.sources.values()] for report in reports]
    return dict(state=model.state_dict(), norms=norms, losses=losses)


@pytest.mark.parametrize("rest", [{}, dict(accumulative_counts=3)], ids=["", "accumulating"])
@pytest.mark.parametrize("name", ["joint", "interleave"])
def test_two_processes_are_one_with_the_doubled_batch(name: str, rest: dict, tmp_path: Path) -> None:
    expected, reports = train(name, **rest)
    first, second = in_two_processes(train_as, tmp_path, name, rest)
    assert_same(second["state"], first["state"])
    torch.testing.assert_close(first["state"], expected.state_dict(), rtol=1e-4, atol=1e-6)
    for key in ("norms", "losses"):
        attribute = dict(norms="grad_norm", losses="loss")[key]
        wanted = [[getattr(one, attribute) for one in report.sources.values()] for report in reports]
        torch.testing.assert_close(first[key], wanted, rtol=1e-4, atol=1e-6)
    assert not torch.equal(expected.trunk.layers[0].weight, shared_model(norm=False).trunk.layers[0].weight)


def train_apart(rank: int, faulty: list[int]) -> dict:
    model = shared_model(norm=False)
    wrapper = sgd(model)
    task_step = TaskStep(rank_tasks=dict(zip(TASKS, TASKS, strict=True)), norm_every=1)
    ours, skipped, sizes = wrapped(model), [], []
    for step in range(6):
        one = part(TASKS[rank], step)
        report = task_step.step(ours, {TASKS[rank]: spoilt(one) if step in faulty and rank == 0 else one}, wrapper)
        skipped.append([report.sources[task].skipped or "" for task in TASKS])
        sizes.append([report.sources[task].size for task in TASKS])
    return dict(
        state=model.state_dict(), skipped=skipped, sizes=sizes, grad_norms=[report.sources[t].grad_norm for t in TASKS]
    )


def test_ranks_with_tasks_of_their_own_average_and_keep_a_fault_to_its_task(tmp_path: Path) -> None:
    first, second = in_two_processes(train_apart, tmp_path, [2])
    assert_same(second["state"], first["state"])
    assert first["skipped"] == second["skipped"] == [["non-finite", ""] if step == 2 else ["", ""] for step in range(6)]
    assert first["sizes"] == [[16, 16]] * 6 and first["grad_norms"] == second["grad_norms"]
    model = shared_model(norm=False, loss_weights=dict(digit=0.5, parity=0.5))
    wrapper, task_step = sgd(model), TaskStep(norm_every=1)
    for step in range(6):
        parts = both(step)
        if step == 2:
            del parts["digit"]
        report = task_step.step(model, parts, wrapper)
    torch.testing.assert_close(first["state"], model.state_dict(), rtol=1e-4, atol=1e-6)
    assert first["grad_norms"] == pytest.approx([2 * report.sources[task].grad_norm for task in TASKS], rel=1e-4)


def train_with_a_fault(rank: int) -> dict:
    model = shared_model(norm=False)
    wrapper, task_step, ours = sgd(model), TaskStep(), wrapped(model)
    skipped = []
    for step in range(5):
        parts = both(step, size=8, rank=rank, world=2)
        if step == 2 and rank == 1:
            spoilt(parts["parity"])
        skipped.append([one.skipped or "" for one in task_step.step(ours, parts, wrapper).sources.values()])
    return dict(state=model.state_dict(), skipped=skipped)


def test_a_fault_in_one_process_leaves_the_task_out_in_both(tmp_path: Path) -> None:
    first, second = in_two_processes(train_with_a_fault, tmp_path)
    assert_same(second["state"], first["state"])
    assert first["skipped"] == second["skipped"] == [["", "non-finite" if step == 2 else ""] for step in range(5)]
    assert all(value.isfinite().all() for value in first["state"].values())
