"""Guard, spike monitor, statistics that are put back, and processes that die."""

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed, nn
from two_processes import in_two_processes

from interngv.engine.multi_task.faults import Guard, SpikeMonitor, Statistics, naming_dead_peers
from interngv.errors import UserError

Noise = Callable[[np.random.Generator, int], np.ndarray]
NOISES: dict[str, tuple[Noise, float]] = {  # and how many false alarms in 10 000 steps are allowed on average
    "normal 5 %": (lambda r, n: 1 + 0.05 * r.standard_normal(n), 0),
    "normal 20 %": (lambda r, n: 1 + 0.2 * r.standard_normal(n), 0),
    "log-normal 0.3": (lambda r, n: np.exp(0.3 * r.standard_normal(n)), 0.5),
    "log-normal 0.5": (lambda r, n: np.exp(0.5 * r.standard_normal(n)), 5),
    "Student 5, 10 %": (lambda r, n: 1 + 0.1 * r.standard_t(5, n), 1),
}
STEPS = np.arange(10_000)
FALLING = 0.5 + 6 * np.exp(-STEPS / 1500) + 1.5 * (1 + STEPS) ** -0.3


@pytest.mark.slow
@pytest.mark.parametrize("name", NOISES)
def test_false_alarms_on_ordinary_noise_are_rare_and_a_tenfold_loss_is_found_at_once(name: str) -> None:
    noise, allowed = NOISES[name]
    alarms = 0
    for seed in range(4):
        monitor = SpikeMonitor()
        losses = FALLING * noise(np.random.default_rng(seed), len(STEPS))
        alarms += sum(monitor.stands_out("a", float(loss)) for loss in losses)
        assert monitor.stands_out("a", 10 * float(np.median(losses[-200:])))
    assert alarms / 4 <= allowed


def test_a_lasting_change_of_level_is_accepted_and_sources_are_apart() -> None:
    monitor = SpikeMonitor(window=20)
    rng = np.random.default_rng(0)
    for loss in 1 + 0.05 * rng.standard_normal(40):
        assert not monitor.stands_out("a", loss)
    found = [monitor.stands_out("a", loss) for loss in 10 + 0.05 * rng.standard_normal(40)]
    assert all(found[:9]) and not any(found[11:])
    assert not monitor.stands_out("b", 10.0)
    assert not any(monitor.stands_out("c", loss) for loss in [1.0] * 9 + [1e6])  # too few losses to say
    assert not any(monitor.stands_out("d", loss) for loss in [0.0] * 30 + [1e-6])  # no noise to measure by


@pytest.mark.parametrize("wrong", [dict(window=7), dict(threshold=0.0)])
def test_a_monitor_that_cannot_work_is_refused(wrong: dict) -> None:
    with pytest.raises(UserError, match=r"guard\.spike"):
        SpikeMonitor(**wrong)


def test_the_guard_counts_faults_in_a_row_by_source() -> None:
    guard = Guard(max_skipped=3)
    judged = [guard.judge("a", 1.0, fine, step) for step, fine in enumerate([False, False, True, False, False])]
    assert judged == ["non-finite", "non-finite", None, "non-finite", "non-finite"]
    assert guard.judge("b", 1.0, False, 5) == "non-finite"
    assert guard.culprit is None and guard.skipped == dict(a=4, b=1)
    guard.judge("a", 1.0, False, 6)
    assert guard.culprit == "a" and guard.sound_until == 3
    guard.after_rollback({})
    assert guard.culprit is None and guard.skipped["a"] == 5
    assert guard.judge("a", 1.0, False, 7) and guard.culprit is None


@pytest.mark.parametrize("action", ["skip", "roll_back"])
def test_a_spike_is_left_out_or_makes_training_go_back(action: str) -> None:
    guard = Guard(spike=dict(window=8, action=action))
    for step, loss in enumerate([1.0, 1.1, 1.2, 1.05, 1.15, 1.1, 0.9, 1.0]):
        assert guard.judge("a", loss, True, step) is None
    assert guard.judge("a", 50.0, True, 8) == "spike"
    assert guard.culprit == ("a" if action == "roll_back" else None)


def test_going_back_is_limited_where_it_leads_nowhere() -> None:
    guard = Guard(max_skipped=1, max_rollbacks=2)
    for iteration in (10, 20, 30, 25, 40):
        guard.judge("a", 1.0, False, iteration)
        guard.allow_rollback(iteration)
        guard.after_rollback({})
    guard.judge("a", 1.0, False, 40)
    guard.allow_rollback(40)
    guard.judge("a", 1.0, False, 35)
    with pytest.raises(UserError, match="source 'a'.* does not get past iteration 40, it went back 2 times"):
        guard.allow_rollback(35)


def test_the_guards_state_goes_through_json() -> None:
    guard = Guard(max_skipped=3, spike=dict(window=8))
    for step in range(9):
        guard.judge("a", 1.0 + step % 3 / 10, step < 7, step)
    guard.allow_rollback(5)
    again = Guard(max_skipped=3, spike=dict(window=8))
    again.load_state_dict(json.loads(json.dumps(guard.state_dict())))
    assert again.state_dict() == guard.state_dict() and again.skipped == guard.skipped == {"a": 2}
    for one in (guard, again):
        assert one.judge("a", 9.0, False, 9) and one.culprit == "a" and one.sound_until == 7
    again.after_rollback(Guard(spike={}).state_dict())
    assert again.judge("a", 1e9, True, 10) is None  # the checkpoint remembered no losses


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(max_skipped=0), "max_skipped=0"),
        (dict(max_rollbacks=0), "max_rollbacks=0"),
        (dict(spike=dict(action="stop")), "action 'stop'"),
        (dict(max_skiped=3), "guard has no option 'max_skiped'; did you mean 'max_skipped'?"),
        (dict(spike=dict(windows=9)), "guard.spike has no option 'windows'; did you mean 'window'?"),
    ],
)
def test_a_guard_that_cannot_work_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        Guard.from_config(wrong)
    assert message in str(error.value)


class Memory(nn.Module):
    """Buffers that change in all the ways that host models know."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("queue", torch.zeros(4, 3))
        self.register_buffer("newest", torch.zeros(3))
        self.register_buffer("later", None)
        self.register_buffer("constant", torch.arange(5.0), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        self.queue[1:] = self.queue[:-1].clone()
        self.queue[0] = y[0].detach()
        self.newest = y[-1].detach()
        self.later = self.newest * 2
        return y


def test_one_forward_pass_is_undone() -> None:
    torch.manual_seed(0)
    model, statistics = Memory(), None
    statistics = Statistics(model)
    for step in range(6):
        statistics.keep()
        before = {name: copy.deepcopy(value) for name, value in model._buffers.items()} | model.norm.state_dict()
        before = copy.deepcopy(before)
        model(torch.full((4, 3), float("nan")) if step % 2 else torch.randn(4, 3))
        assert not torch.equal(model.norm.running_mean, before["running_mean"])
        if step % 2:
            statistics.put_back()
            after = model._buffers | model.norm.state_dict()
            for name, value in before.items():
                assert value is after[name] is None or torch.equal(after[name], value)
    assert model.norm.num_batches_tracked == 3


def test_statistics_follow_what_others_write_into_the_buffers() -> None:
    model = Memory()
    statistics = Statistics(model)
    statistics.keep()
    model.load_state_dict({key: value + 7 for key, value in Memory().state_dict().items()}, strict=False)
    statistics.keep()
    model.queue.zero_()
    statistics.put_back()
    assert (model.queue == 7).all() and (model.norm.running_mean == 7).all()


def lose_a_peer(rank: int) -> dict:
    distributed.all_reduce(torch.ones(1))
    if rank == 1:
        os._exit(0)
    try:
        with naming_dead_peers():
            for _ in range(100):
                distributed.all_reduce(torch.ones(1))
    except UserError as error:
        with Path(os.environ["SAID"]).open("w") as file:
            file.write(str(error))
    os._exit(0)


def test_a_process_that_dies_is_one_line_in_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    in_two_processes(lose_a_peer, tmp_path)
    assert (tmp_path / "said").read_text() == "another process of this run ended: see its output above"


def fail_alone(rank: int) -> dict:
    try:
        with naming_dead_peers():
            raise RuntimeError("shapes (2, 3) and (4, 5) cannot be multiplied")
    except RuntimeError as error:
        return dict(said=str(error))


def test_other_errors_pass(tmp_path: Path) -> None:
    assert in_two_processes(fail_alone, tmp_path)[0]["said"].startswith("shapes")
    with pytest.raises(RuntimeError, match="Connection refused"), naming_dead_peers():
        raise RuntimeError("Connection refused")  # by a database: this run has one process
