"""Three levels of agreement: what holds, and which level catches which planted error."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.claims.families import Family
from harness.errors import DeviceError, RegistryError, TopologyError, WeightsError
from harness.models.dates import DateCache
from harness.models.devices import equivalence as eq
from harness.models.devices.device import Device
from harness.models.devices.equivalence_inputs import inputs_sha256, label_of, make_inputs
from harness.models.devices.levels import Runs, judge
from harness.models.ensemble import Ensemble, load_family
from harness.models.synthetic import write_family
from harness.records.equivalence import (
    MEANING,
    EquivalenceRecord,
    TaskEquivalence,
    read_equivalence,
    read_equivalences,
    write_equivalence,
)
from harness.report.equivalence import render_equivalence

TASK = "lulc_nyc"
CPU = Device("cpu", torch.device("cpu"), "this processor")
Change = Callable[[nn.Module], object]


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def ensemble(narrow: Family, narrow_weights: Path) -> Ensemble:
    return load_family(narrow, narrow_weights, tasks=[TASK], device=CPU)


@pytest.fixture(scope="module")
def unplanted(ensemble: Ensemble) -> EquivalenceRecord:
    return eq.run(ensemble, ensemble, [TASK], [make_inputs(ensemble.family, 64)])


def planted(ensemble: Ensemble, change: Change) -> TaskEquivalence:
    """The comparison with one error in the other side's model."""
    model = copy.deepcopy(ensemble.adapters[TASK].model)
    change(model)
    adapters = {TASK: dataclasses.replace(ensemble.adapters[TASK], model=model)}
    other = dataclasses.replace(ensemble, adapters=adapters)
    return eq.run(ensemble, other, [TASK], [make_inputs(ensemble.family, 64)]).tasks[0]


def held(task: TaskEquivalence) -> str:
    return " ".join(level.level for level in task.levels if level.holds)


# --- nothing planted


def test_nothing_planted_and_every_level_holds(unplanted: EquivalenceRecord) -> None:
    task = unplanted.tasks[0]
    assert held(task) == "L0 L1 L2"
    assert task.identical
    assert (task.max_abs, task.p999_abs, task.iou_difference) == (0.0, 0.0, 0.0)
    assert (task.pixels, task.disagreeing_px, task.largest_margin) == (64 * 64, 0, None)
    assert all(unplanted.holds(level) for level in ("L0", "L1", "L2"))
    assert unplanted.meaning == MEANING["L1"]
    assert unplanted.weights == "random"
    assert unplanted.reference.failed == []
    assert unplanted.switches["float32_matmul_precision"] == "highest"


def test_both_runs_of_level_0_compute_everything(ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features kept from the first run would make the second one the same by themselves."""
    caches: list[DateCache] = []
    plain = eq._logits

    def count(side: Ensemble, *args: Any) -> Any:
        out = plain(side, *args)
        caches.append(side.dates)
        return out

    monkeypatch.setattr(eq, "_logits", count)
    before = ensemble.dates.asked
    eq.run(ensemble, ensemble, [TASK], [make_inputs(ensemble.family, 64)])
    assert len({id(c) for c in caches}) == 3
    assert [c.encoded for c in caches] == [1, 1, 1]
    assert ensemble.dates.asked == before


def test_one_thread_and_two_differ_by_rounding_only(ensemble: Ensemble) -> None:
    record = eq.run(ensemble, ensemble, [TASK], [make_inputs(ensemble.family, 64)], threads=1)
    assert held(record.tasks[0]) == "L0 L1 L2"
    assert (record.reference.build[-9:], record.other.build[-9:]) == ("2 threads", "1 threads")
    assert torch.get_num_threads() == 2


def test_a_new_process_gives_the_same_bytes(ensemble: Ensemble, narrow_weights: Path) -> None:
    family = ensemble.family
    asked = {"size_px": 64, "seeds": (0,), "threads": 2}

    def fresh() -> dict[str, str]:
        return eq.fresh_process(family, narrow_weights, [TASK], **asked)  # type: ignore[arg-type]

    task = eq.run(ensemble, ensemble, [TASK], [make_inputs(family, 64)], fresh=fresh).tasks[0]
    assert task.fresh_process is True
    assert task.levels[0].conditions["a run in a new process gives the same bytes"]


def test_a_new_process_that_fails_says_why(ensemble: Ensemble, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"new process of the comparison failed \(1\): .*WeightsError"):
        eq.fresh_process(ensemble.family, tmp_path, [TASK])


def test_merged_weights_differ_by_rounding_only(ensemble: Ensemble) -> None:
    record = eq.run(ensemble, eq.merged(ensemble, [TASK]), [TASK], [make_inputs(ensemble.family, 64)])
    task = record.tasks[0]
    assert held(task) == "L0 L1 L2"
    assert not task.identical
    assert (record.reference.merged, record.other.merged) == (False, True)
    assert record.id == "equivalence-cpu-float32-merged"


# --- planted errors


def _linear_in(dtype: torch.dtype) -> Change:
    """One linear layer in the middle of the encoder."""

    def change(model: nn.Module) -> None:
        layer = model.encoder.encoder.encoder[3].mlp.fc1
        layer.forward = lambda x: nn.functional.linear(*(t.to(dtype) for t in (x, layer.weight, layer.bias))).float()

    return change


def _head_in_half(model: nn.Module) -> None:
    """The last convolution."""
    head = next(m for m in model.head.modules() if isinstance(m, nn.Conv2d))
    head.forward = lambda x: nn.functional.conv2d(*(t.half() for t in (x, head.weight, head.bias))).float()


def _bands_swapped(model: nn.Module) -> None:
    def swap(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        bands = args[0]["S2L2A"]
        order = [0, 1, 3, 2, *range(4, 12)]  # B04 and B03
        return ({**args[0], "S2L2A": bands[:, order]}, *args[1:])

    model.register_forward_pre_hook(swap)


def _block_dropped(model: nn.Module) -> None:
    model.encoder.encoder.encoder[5] = nn.Identity()


def _medium(model: nn.Module) -> None:
    """As terratorch's import leaves it, where the comparison's own setting cannot undo it."""
    model.register_forward_pre_hook(lambda *_: torch.set_float32_matmul_precision("medium"))
    model.register_forward_hook(lambda *_: torch.set_float32_matmul_precision("highest"))


def _tf32(model: nn.Module) -> None:
    """What a GPU does with TF32 allowed: 10 bits of mantissa in every product of matrices and convolution."""

    def shorter(t: Tensor) -> Tensor:
        return ((t.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)

    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            module.weight = nn.Parameter(shorter(module.weight.detach()), requires_grad=False)
            module.register_forward_pre_hook(lambda _, args: (shorter(args[0]), *args[1:]))


def _not_repeatable(model: nn.Module) -> None:
    calls: list[int] = []

    def drift(_: nn.Module, __: Any, out: Any) -> Any:
        calls.append(0)
        out.output = out.output * (1 + 1e-6 * len(calls))
        return out

    model.register_forward_hook(drift)


def _one_pixel_lost(model: nn.Module) -> None:
    def lose(_: nn.Module, __: Any, out: Any) -> Any:
        out.output = out.output.clone()
        out.output[..., 7, 9] = float("nan")
        return out

    model.register_forward_hook(lose)


@pytest.mark.parametrize(
    ("change", "levels"),
    [
        (_linear_in(torch.bfloat16), "L0 L2"),
        (_head_in_half, "L0 L2"),
        (_bands_swapped, "L0"),
        (_block_dropped, "L0"),
        (_tf32, "L0 L2"),
        (_not_repeatable, "L1 L2"),
        (_one_pixel_lost, "L0"),
    ],
)
def test_a_planted_error_is_caught_at_its_level(ensemble: Ensemble, change: Change, levels: str) -> None:
    task = planted(ensemble, change)
    assert held(task) == levels, [level.conditions for level in task.levels]


def test_one_encoder_layer_in_float16_is_below_level_1_and_seen_in_the_bytes(ensemble: Ensemble) -> None:
    """A limit of the level's bounds, kept as it is: 11 bits of mantissa in one layer of 50."""
    task = planted(ensemble, _linear_in(torch.float16))
    assert held(task) == "L0 L1 L2"
    assert task.p999_abs is not None
    assert 1e-5 < task.p999_abs < 1e-4
    assert not task.identical


def test_what_terratorch_sets_is_caught(ensemble: Ensemble) -> None:
    task = planted(ensemble, _medium)
    if task.max_abs is not None and task.max_abs < 1e-5:
        pytest.skip("this processor does not shorten float32 products")
    assert "L1" not in held(task)


def test_what_the_process_had_set_does_not_matter(ensemble: Ensemble, unplanted: EquivalenceRecord) -> None:
    torch.set_float32_matmul_precision("medium")
    try:
        task = eq.run(ensemble, ensemble, [TASK], [make_inputs(ensemble.family, 64)]).tasks[0]
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert task.reference_sha256 == task.other_sha256 == unplanted.tasks[0].reference_sha256


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_has_its_cost_printed(ensemble: Ensemble, dtype: str) -> None:
    record = eq.run(ensemble, eq.as_dtype(ensemble, dtype), [TASK], [make_inputs(ensemble.family, 64)])
    task = record.tasks[0]
    assert "L1" not in held(task)
    assert "L0" in held(task)
    assert (record.other.dtype, ensemble.dtype) == (dtype, "float32")
    text = render_equivalence(record)
    assert f"`harness equivalence --device cpu --dtype {dtype}`" in text
    assert f"{task.disagreeing_px:,} of 4,096 px get another class" in text


# --- bounds, on arrays


def pair(classes: int = 3, size: int = 200) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits whose 99th percentile of |.| is 1: two signs of 1 everywhere, first class well ahead."""
    a = np.full((classes, size, size), -1, np.float32)
    a[0] = 1
    return a, a.copy()


def judged(a: NDArray[np.float32], b: NDArray[np.float32]) -> TaskEquivalence:
    return judge("made", Runs([a], [b], [b.copy()], None))


@pytest.mark.parametrize(
    ("share", "size", "levels"),
    [(0.0005, 0.9e-3, "L0 L1 L2"), (0.0005, 1.1e-3, "L0 L2"), (0.01, 0.9e-4, "L0 L1 L2"), (0.01, 1.1e-4, "L0 L2")],
)
def test_both_bounds_of_level_1(share: float, size: float, levels: str) -> None:
    a, b = pair()
    count = int(share * a.size)
    b.reshape(-1)[:count] += np.float32(size)
    task = judged(a, b)
    assert task.scale == 1
    assert task.max_abs == pytest.approx(size, rel=1e-3)
    assert held(task) == levels


@pytest.mark.parametrize(
    ("pixels", "margin", "levels"),
    [
        (10, 1.9e-3, "L0 L2"),  # few enough, and nearly equal
        (10, 2.1e-3, "L0"),  # few enough, but the reference was sure of them
        (41, 1.9e-3, "L0"),  # more than one in a thousand of 40,000
        (40, 1.9e-3, "L0 L2"),  # one in a thousand exactly
    ],
)
def test_bounds_of_level_2(pixels: int, margin: float, levels: str) -> None:
    a, _ = pair()
    a[1].reshape(-1)[::1000][:41] = 1 - margin
    b = a.copy()
    at = np.unravel_index(np.arange(a[0].size)[::1000][:pixels], a[0].shape)
    b[1][at] = 1 + 1e-4
    if pixels == 41:
        assert len(at[0]) == 40
        at = (np.append(at[0], 0), np.append(at[1], 1))
        a[1][at] = 1 - margin
        b[1][at] = 1 + 1e-4
    task = judged(a, b)
    assert task.disagreeing_px == pixels
    assert task.largest_margin == pytest.approx(margin, rel=1e-3)
    assert held(task) == levels


def test_an_iou_that_moves_by_more_than_a_thousandth_fails_level_2() -> None:
    """Argmax agrees on 99.9 %, every margin is small, and yet a rare class loses its score."""
    a, _ = pair(classes=2)
    b = a.copy()
    rare = np.zeros(a[0].shape, np.bool_)
    rare[:4, :10] = True
    for logits, ahead in ((a, 1e-4), (b, -1e-4)):
        logits[1][rare] = 1 + ahead
    task = judged(a, b)
    assert task.agreement == 0.999
    assert task.largest_margin is not None
    assert task.largest_margin < 2e-3
    assert task.iou_difference is not None
    assert task.iou_difference > 1e-3
    assert held(task) == "L0 L1"
    assert not next(v for k, v in task.levels[2].conditions.items() if k.startswith("|d IoU|"))


def test_reference_pixels_that_are_not_finite_are_not_judged() -> None:
    a, b = pair()
    a[:, 0, 0] = np.nan
    assert judged(a, b).pixels == 200 * 200 - 1
    assert held(judged(a, b)) == "L0 L1 L2"
    b[1, 5, 5] = np.inf
    task = judged(a, b)
    assert (task.nonfinite_px, task.disagreeing_px, held(task)) == (1, 1, "L0")


def test_logits_that_cannot_be_a_reference_are_refused() -> None:
    a, b = pair()
    with pytest.raises(WeightsError, match="no logit of the reference is finite"):
        judged(a * np.nan, b)
    with pytest.raises(WeightsError, match="99 of 100 logits of the reference are 0"):
        judged(a * 0, b)
    with pytest.raises(WeightsError, match="not one model"):
        judged(a, b[:2])


def test_a_second_run_with_other_bytes_fails_level_0() -> None:
    a, b = pair()
    again = b.copy()
    again[0, 0, 0] = np.nextafter(np.float32(1), np.float32(2))
    assert held(judge("made", Runs([a], [b], [again], None))) == "L1 L2"
    assert held(judge("made", Runs([a], [b], [b], "another"))) == "L1 L2"


# --- inputs and label


def test_inputs_have_the_same_bytes_everywhere(narrow: Family) -> None:
    made = [make_inputs(narrow, 32, seed=0), make_inputs(narrow, 32, seed=1, dates=4)]
    assert inputs_sha256(made) == "2abd98cdabe3691955967337e54a91afda4124f4e6f4caa68e02a4b6a260bf3b"
    assert {m: a.shape for m, a in made[0].arrays.items()} == {
        "S2L2A": (12, 4, 32, 32),
        "S1RTC": (2, 4, 32, 32),
        "DEM": (1, 4, 32, 32),
    }
    assert (made[0].identical_dates, made[1].identical_dates) == (True, False)
    s2 = made[1].arrays["S2L2A"]
    assert not np.array_equal(s2[:, 0], s2[:, 1])
    assert np.array_equal(made[1].arrays["DEM"][:, 0], made[1].arrays["DEM"][:, 3])
    large = make_inputs(narrow, 224).arrays["S2L2A"]
    assert abs(float(large.mean())) < 0.05
    assert float(large.std()) == pytest.approx(1, abs=0.05)


def test_inputs_that_no_adapter_takes_are_refused(narrow: Family) -> None:
    with pytest.raises(TopologyError, match="size 40 px: give a multiple of 16"):
        make_inputs(narrow, 40)
    with pytest.raises(TopologyError, match="2 dates: lulc_nyc takes 4; give 1 or 4"):
        make_inputs(narrow, 32, dates=2)


def test_the_label_holds_every_class_and_mostly_agrees() -> None:
    label = label_of(np.zeros((224, 224), np.int64), 5, "made")
    shares = np.bincount(label.reshape(-1), minlength=5) / label.size
    assert 0.75 < shares[0] < 0.9
    assert shares[1:].min() > 0.02
    assert np.array_equal(label, label_of(np.zeros((224, 224), np.int64), 5, "made"))
    assert label_of(np.zeros((20, 12), np.int64), 2, "made").shape == (20, 12)


# --- what is refused


def test_a_reference_that_is_not_float32_on_the_cpu_is_refused(ensemble: Ensemble) -> None:
    with pytest.raises(DeviceError, match="the reference is float16 on cpu"):
        eq.run(eq.as_dtype(ensemble, "float16"), ensemble, [TASK], [make_inputs(ensemble.family, 64)])
    with pytest.raises(TopologyError, match="nothing to compare"):
        eq.run(ensemble, ensemble, [TASK], [])


def test_a_processor_that_is_not_exact_gives_no_golden_logits(
    ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = nn.functional.gelu
    monkeypatch.setattr(nn.functional, "gelu", lambda x: plain(x) if x.dtype == torch.float64 else plain(x) * 1.001)
    with pytest.raises(DeviceError, match=r"float32 on this CPU is not exact: gelu \(contiguous\), gelu"):
        eq.run(ensemble, ensemble, [TASK], [make_inputs(ensemble.family, 64)])


def test_other_weights_are_refused(ensemble: Ensemble, narrow: Family, tmp_path: Path) -> None:
    other = load_family(narrow, write_family(narrow, tmp_path, seed=1, only=[TASK]), tasks=[TASK], device=CPU)
    with pytest.raises(WeightsError, match=r"lulc_nyc: the two sides hold other weights \(base base.pt, lora"):
        eq.run(ensemble, other, [TASK], [make_inputs(narrow, 64)])
    with pytest.raises(WeightsError, match="tim_nyc: not loaded"):
        eq.run(ensemble, ensemble, ["tim_nyc"], [make_inputs(narrow, 64)])


# --- record and report


def test_golden_logits_are_held_against_earlier_records(ensemble: Ensemble, unplanted: EquivalenceRecord) -> None:
    inputs = [make_inputs(ensemble.family, 64)]
    elsewhere = unplanted.model_copy(
        update={
            "reference": unplanted.reference.model_copy(update={"name": "another processor"}),
            "tasks": [unplanted.tasks[0].model_copy(update={"reference_sha256": "0" * 64})],
        }
    )
    of_others = unplanted.model_copy(update={"inputs_sha256": "0" * 64})
    again = eq.run(ensemble, ensemble, [TASK], inputs, earlier=[unplanted, elsewhere, of_others])
    assert [(e.same_machine_kind, e.same) for e in again.earlier] == [(True, {TASK: True}), (False, {TASK: False})]
    text = render_equivalence(again)
    assert "same kind of machine: lulc_nyc the same bytes." in text
    assert "another kind of machine: lulc_nyc other bytes. Another processor, build or number of threads" in text
    assert all(again.holds(level) for level in ("L0", "L1", "L2"))  # information, no failure


def test_records_are_written_once_and_read_back(unplanted: EquivalenceRecord, tmp_path: Path) -> None:
    path = write_equivalence(unplanted, tmp_path / unplanted.id)
    assert read_equivalence(path) == unplanted
    assert read_equivalences(tmp_path) == [unplanted]
    with pytest.raises(RegistryError, match="written once"):
        write_equivalence(unplanted, tmp_path / unplanted.id)
    path.write_text(path.read_text(encoding="utf-8").replace('"agreement"', '"aggreement"'), encoding="utf-8")
    with pytest.raises(RegistryError, match=r"equivalence\.json: tasks\.0\.agreement: Field required"):
        read_equivalence(path)


def test_the_report_says_first_what_holds_and_what_it_means(unplanted: EquivalenceRecord) -> None:
    lines = render_equivalence(unplanted).splitlines()
    assert lines[0] == "# [L0 L1 L2] narrow: cpu float32 against cpu float32"
    assert lines[2] == MEANING["L1"]
    assert any("Random weights: mechanics only" in line for line in lines)
    assert "- [x] lulc_nyc L0: a second run in the same process gives the same bytes" in lines
    assert "- Whether a new process gives the same bytes: none was started." in lines
    broken = unplanted.tasks[0].model_copy(
        update={"levels": [v.model_copy(update={"holds": False}) for v in unplanted.tasks[0].levels]}
    )
    none = render_equivalence(unplanted.model_copy(update={"tasks": [broken]})).splitlines()
    assert none[0] == "# [no level] narrow: cpu float32 against cpu float32"
    assert none[2] == MEANING["none"]


def test_what_fell_back_and_what_failed_is_in_the_report(unplanted: EquivalenceRecord) -> None:
    check = unplanted.other.operators[0].model_copy(update={"passed": False, "error": 0.25, "why": "wrong values"})
    side = unplanted.other.model_copy(update={"operators": [check], "fallbacks": {"aten::nonzero": 3}})
    text = render_equivalence(unplanted.model_copy(update={"other": side}))
    assert "| 0 of 1 | aten::nonzero 3 times |" in text
    assert "- [ ] cpu: linear (contiguous): wrong values, off by 2.50e-01 of the largest value" in text


def test_one_adapter_that_fails_fails_the_level(unplanted: EquivalenceRecord) -> None:
    task = unplanted.tasks[0]
    l0, l1, l2 = task.levels
    worse = task.model_copy(update={"adapter": "b", "levels": [l0, l1.model_copy(update={"holds": False}), l2]})
    record = unplanted.model_copy(update={"tasks": [task, worse]})
    assert [record.holds(level) for level in ("L0", "L1", "L2")] == [True, False, True]
    assert record.meaning == MEANING["L2"]
    moved = task.model_copy(update={"levels": [l0, l1, l2.model_copy(update={"holds": False})]})
    assert unplanted.model_copy(update={"tasks": [moved]}).meaning == MEANING["L1 alone"]
