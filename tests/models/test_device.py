"""Devices by name, exact float32, self-test, memory, and what Apple's GPUs need.

No GPU is asked for: kinds of builds and devices are told apart by patching what torch says of
itself, and everything that computes runs on the CPU.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from harness.claims.families import Family
from harness.errors import DeviceError, RegistryError
from harness.models.devices import device as devices
from harness.models.devices import operators, precision
from harness.models.devices.device import Device, available, fallback_allowed, place, resolve, to_device
from harness.models.devices.memory import in_batches, out_of_memory
from harness.models.devices.mps import contiguous_operands, fallbacks
from harness.models.devices.operators import CASES, self_test
from harness.models.devices.precision import exact, state
from harness.models.ensemble import load_family
from tests.models.made import inputs

CPU = Device("cpu", torch.device("cpu"), "this processor")
NO_GPU = Device("mps", torch.device("cpu"), "no GPU")
"""Kind mps on the CPU: what is done for MPS, where it can be looked at."""


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


# --- names


@pytest.mark.parametrize(
    ("cuda", "hip", "mps", "order"),
    [
        (False, None, False, ("cpu",)),
        (True, None, False, ("cuda", "cpu")),
        (True, "7.1.0", False, ("rocm", "cpu")),
        (False, None, True, ("mps", "cpu")),
        (False, "7.1.0", False, ("cpu",)),
    ],
)
def test_auto_takes_the_first_that_is_there(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, hip: str | None, mps: bool, order: tuple[str, ...]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert available() == order
    assert resolve("auto", check=False).kind == order[0]


def test_a_rocm_build_is_not_called_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    monkeypatch.setattr(torch.version, "hip", "7.1.0")
    assert resolve("rocm").torch == torch.device("cuda", 0)
    with pytest.raises(DeviceError, match=r"finds rocm, cpu; this build of torch is for rocm\. Name one of them"):
        resolve("cuda")


def test_a_device_that_is_not_there_is_an_error_of_the_device() -> None:
    with pytest.raises(RegistryError, match=r"device 'tpu' is not known; there are auto, cuda, rocm, mps, cpu"):
        resolve("tpu")
    absent = next(k for k in devices.ORDER if k not in available())
    with pytest.raises(DeviceError, match=f"device '{absent}' is not there; torch .* finds .*cpu") as caught:
        resolve(absent)
    assert caught.value.exit_code == 3


def test_mps_is_tested_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    tested: list[str] = []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(operators, "require", lambda device: tested.append(device.kind))
    assert resolve("mps").kind == "mps"
    assert resolve("cpu").kind == "cpu"
    assert tested == ["mps"]


def test_the_cpu_says_what_its_results_depend_on() -> None:
    here = resolve("cpu")
    here.synchronise()
    assert torch.__version__ in here.build()
    assert here.build().endswith("2 threads")
    assert here.name


# --- exact float32


def product_error() -> float:
    """Largest error of a product of two float32 matrices, a share of the largest entry."""
    a, b = operators.numbers(CASES[0])[:2]
    wanted = functional.linear(a.double(), b.double())
    return float((functional.linear(a, b).double() - wanted).abs().max() / wanted.abs().max())


def test_exact_undoes_what_terratorch_sets() -> None:
    before = state()
    torch.set_float32_matmul_precision("medium")
    try:
        shortened = state()
        with exact() as inside:
            assert product_error() < 2e-6
            assert inside == state()
            assert inside["float32_matmul_precision"] == "highest"
            assert {inside[f"{a}.{b}"] for a, b in precision.OPERATIONS} == {"ieee"}
            assert (inside["cudnn.deterministic"], inside["cudnn.benchmark"]) == ("True", "False")
        assert state() == shortened
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.fp32_precision = before["cuda.matmul"]
        torch.backends.mkldnn.matmul.fp32_precision = before["mkldnn.matmul"]


def test_medium_shortens_products_on_processors_that_can() -> None:
    """Why `exact` is there; says nothing where the processor has no bfloat16 products."""
    torch.set_float32_matmul_precision("medium")
    try:
        error = product_error()
    finally:
        torch.set_float32_matmul_precision("highest")
    if error < 1e-5:
        pytest.skip(f"this processor does not shorten float32 products (error {error:.1e})")
    assert error > 10 * operators.TOLERANCE


def test_convolutions_of_cudnn_are_put_back_to_tf32() -> None:
    """TF32 there is PyTorch's own default, so it must be turned off and put back."""
    before = state()
    assert before["cudnn.conv"] == "tf32"
    seen: list[dict[str, str]] = []

    def fails() -> None:
        with exact() as inside:
            seen.append(inside)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert (seen[0]["cudnn.conv"], seen[0]["cudnn.allow_tf32"]) == ("ieee", "False")
    assert state() == before


def test_switches_that_were_mixed_are_put_back_too() -> None:
    before = state()
    conv = torch.backends.cudnn.conv
    conv.fp32_precision = "ieee"  # and rnn is tf32: no word of the old switches says that
    try:
        mixed = state()
        assert mixed["cudnn.allow_tf32"] == precision.UNREADABLE
        with exact() as inside:
            assert inside["cudnn.rnn"] == "ieee"
        assert state() == mixed
    finally:
        conv.fp32_precision = before["cudnn.conv"]
    assert state() == before


def test_a_torch_with_the_old_switches_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = state()
    monkeypatch.setattr(precision, "OPERATIONS", ())
    torch.set_float32_matmul_precision("high")
    with exact() as inside:
        assert inside == {
            "float32_matmul_precision": "highest",
            "cudnn.allow_tf32": "False",
            "cudnn.deterministic": "True",
            "cudnn.benchmark": "False",
        }
    assert torch.get_float32_matmul_precision() == "high"
    assert torch.backends.cudnn.allow_tf32 is True
    monkeypatch.undo()
    torch.set_float32_matmul_precision("highest")
    for library, operation in precision.OPERATIONS:
        getattr(getattr(torch.backends, library), operation).fp32_precision = before[f"{library}.{operation}"]
    assert state() == before


# --- self-test


def test_this_processor_passes_its_self_test() -> None:
    checks = self_test(CPU)
    assert [c for c in checks if not c.passed] == []
    assert len(checks) == len(CASES)
    assert {"linear", "scaled_dot_product_attention", "layer_norm", "conv2d", "conv_transpose2d"} <= {
        c.operator for c in checks
    }


def _shorter(t: Tensor) -> Tensor:
    """TF32: the lowest 13 of 23 bits of the mantissa rounded off."""
    bits = t.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def _as_stored(t: Tensor) -> Tensor:
    """The numbers in the order of memory from the start of it, whatever the view says."""
    return torch.as_strided(t, t.shape, torch.empty(t.shape, device="meta").stride(), 0)


plain_linear, plain_attention, plain_norm = (
    functional.linear,
    functional.scaled_dot_product_attention,
    functional.layer_norm,
)
plain_conv, plain_addcmul, plain_copy = functional.conv2d, Tensor.addcmul_, Tensor.copy_


def _on_float32(plain: Callable[..., Any], planted: Callable[..., Any]) -> Callable[..., Any]:
    """Wrong on float32 and right on the float64 that it is compared with."""

    def operator(*args: Any, **kwargs: Any) -> Any:
        return (planted if args[0].dtype == torch.float32 else plain)(*args, **kwargs)

    return operator


def _absent(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("The operator 'aten::linear' is not currently implemented for the MPS device.\nmore")


FAULTS: dict[str, tuple[Any, str, Callable[..., Any], Callable[..., Any], set[str]]] = {
    "tf32 products": (
        functional,
        "linear",
        plain_linear,
        lambda x, w, b=None: plain_linear(_shorter(x), _shorter(w), b),
        {"contiguous", "input transposed", "weight sliced", "input expanded"},
    ),
    "attention of views read as stored": (
        functional,
        "scaled_dot_product_attention",
        plain_attention,
        lambda q, k, v, **kw: plain_attention(*(map(_as_stored, (q, k, v))), **kw),
        {"permuted out of one tensor, as TerraMind does", "permuted, short sequences"},
    ),
    "norm of a slice read from the start": (
        functional,
        "layer_norm",
        plain_norm,
        lambda x, *a: plain_norm(_as_stored(x), *a),
        {"slice", "transposed"},
    ),
    "convolution with a weight read as stored": (
        functional,
        "conv2d",
        plain_conv,
        lambda x, w, *a, **k: plain_conv(x, _as_stored(w), *a, **k),
        {"weight sliced"},
    ),
    "nothing written in place": (
        Tensor,
        "addcmul_",
        plain_addcmul,
        lambda x, *_: x,
        {"in place, transposed"},
    ),
    "a slice that is not written": (Tensor, "copy_", plain_copy, lambda x, _: x, {"in place, slice"}),
    "not a number": (
        functional,
        "layer_norm",
        plain_norm,
        lambda x, *a: plain_norm(x, *a) * float("nan"),
        {"contiguous", "slice", "transposed"},
    ),
    "an operator that is not there": (
        functional,
        "linear",
        plain_linear,
        _absent,
        {"contiguous", "input transposed", "weight sliced", "input expanded"},
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_self_test_finds_a_planted_fault_and_nothing_else(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, name, plain, planted, layouts = FAULTS[fault]
    monkeypatch.setattr(where, name, _on_float32(plain, planted))
    failed = [c for c in self_test(CPU) if not c.passed]
    assert {c.operator for c in failed} == {name}
    assert {c.layout for c in failed} == layouts
    assert all(c.why for c in failed)


def test_a_device_that_fails_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functional, "gelu", _on_float32(functional.gelu, lambda x: x))
    with pytest.raises(DeviceError, match=r"2 of \d+ operators fail the self-test: gelu \(contiguous\): wrong values"):
        operators.require(CPU)


def test_a_wrong_shape_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = functional.max_pool2d
    monkeypatch.setattr(functional, "max_pool2d", _on_float32(plain, lambda x, k: plain(x, k)[..., 1:]))
    failed = [c for c in self_test(CPU) if not c.passed]
    assert [c.why for c in failed] == ["shape [2, 16, 7, 6], not [2, 16, 7, 7]"]


# --- memory


def _until(limit: int, error: Callable[[], Any], seen: list[list[int]]) -> Callable[[Sequence[int]], list[int]]:
    """Squares its items, and runs out of memory above `limit` of them."""

    def run(items: Sequence[int]) -> list[int]:
        seen.append(list(items))
        if len(items) > limit:
            error()
        return [i * i for i in items]

    return run


def _allocate() -> None:
    torch.empty(1 << 50)  # more than any address space: the allocator itself refuses


def _raise(error: BaseException) -> Callable[[], None]:
    def now() -> None:
        raise error

    return now


MPS_TEXT = (
    "MPS backend out of memory (MPS allocated: 5.56 GB, other allocations: 1.10 GB, max allowed: 6.80 GB). "
    "Tried to allocate 768.00 MB on private pool."
)


@pytest.mark.parametrize(
    "error",
    [
        _allocate,
        _raise(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")),
        _raise(RuntimeError(MPS_TEXT)),
        _raise(MemoryError()),
    ],
    ids=["torch on the CPU", "CUDA and ROCm", "MPS", "Python"],
)
def test_out_of_memory_halves_the_batch_and_says_so(error: Callable[[], None]) -> None:
    said: list[str] = []
    seen: list[list[int]] = []
    assert in_batches(range(9), _until(2, error, seen), 8, CPU, said.append) == [i * i for i in range(9)]
    assert [len(b) for b in seen] == [8, 4, 2, 2, 2, 2, 1]
    assert len(said) == 2
    assert said[0].startswith("this processor (cpu): out of memory with 8 at a time; going on with 4: ")
    assert "2" in said[1]


def test_out_of_memory_at_one_item_is_an_error() -> None:
    said: list[str] = []
    with pytest.raises(
        DeviceError, match=r"this processor \(cpu\): out of memory at batch 1, item 0: .*memory"
    ) as caught:
        in_batches([1, 2, 3], _until(0, _allocate, []), 2, CPU, said.append)
    assert len(said) == 1
    assert out_of_memory(caught.value.__cause__ or ValueError())


def test_another_error_is_not_taken_for_memory() -> None:
    with pytest.raises(RuntimeError, match="sizes of tensors"):
        in_batches([1, 2], _until(0, _raise(RuntimeError("sizes of tensors must match")), []), 2, CPU, _never)


def test_a_result_too_few_is_an_error() -> None:
    with pytest.raises(DeviceError, match="a batch of 2 gave 1 results"):
        in_batches([1, 2], lambda items: [items[0]], 2, CPU, _never)
    with pytest.raises(DeviceError, match="batch of 0: give 1 or more"):
        in_batches([1], lambda items: items, 0, CPU, _never)


def _never(text: str) -> None:
    raise AssertionError(text)


# --- what MPS needs


def test_the_fallback_variable_is_read_as_torch_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(devices.FALLBACK, raising=False)
    assert not fallback_allowed()
    for value, allowed in (("0", False), ("1", True), ("", False)):
        monkeypatch.setenv(devices.FALLBACK, value)
        assert fallback_allowed() is allowed


def test_operators_that_fell_back_are_counted_and_other_warnings_shown() -> None:
    text = (
        "The operator 'aten::{}' is not currently supported on the MPS backend and will fall back to run on the CPU. "
        "This may have performance implications."
    )
    always = torch.is_warn_always_enabled()
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with fallbacks() as counted:
            assert torch.is_warn_always_enabled()
            for name in ("nonzero", "upsample_bicubic2d.out", "nonzero"):
                warnings.warn(text.format(name), UserWarning, stacklevel=1)
            warnings.warn("something else", UserWarning, stacklevel=1)
    assert counted == {"aten::nonzero": 2, "aten::upsample_bicubic2d.out": 1}
    assert [str(w.message) for w in shown] == ["something else"]
    assert torch.is_warn_always_enabled() == always


class _Views(TorchDispatchMode):
    """Notes operators that compute on a tensor that is not contiguous."""

    # Views and copies, which may take anything.
    HARMLESS = re.compile(
        r"aten\.(_?reshape|view|permute|transpose|t|select|slice|unbind|split|clone|copy_|_to_copy|to|contiguous|detach"
        r"|alias|expand|unsqueeze|squeeze|flatten|movedim|as_strided|_unsafe_view|resolve_\w+|lift_fresh)"
    )

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [a for a in args if isinstance(a, Tensor)]
        if not self.HARMLESS.match(str(func)) and any(not a.is_contiguous() for a in given):
            self.seen.add(str(func).removeprefix("aten.").partition(".")[0])
        return func(*args, **(kwargs or {}))


def test_on_mps_no_operator_of_the_topology_computes_on_a_view(narrow: Family, narrow_weights: Path) -> None:
    """TerraMind hands attention permuted tensors, which MPS got wrong (pytorch/pytorch#181133)."""
    ensemble = load_family(narrow, narrow_weights, tasks=["lulc_nyc"], device=CPU)
    batch = {m: torch.from_numpy(a)[None] for m, a in inputs().arrays.items()}
    with _Views() as plain:
        wanted = ensemble.forward("lulc_nyc", batch)
    assert "scaled_dot_product_attention" in plain.seen
    ensemble.dates._held.clear()
    with NO_GPU.running(), _Views() as mended:
        got = ensemble.forward("lulc_nyc", batch)
    assert mended.seen == set()
    assert float((got - wanted).abs().max()) < 1e-5
    with contiguous_operands():
        assert torch.equal(torch.cat([wanted.mT, wanted.mT]), torch.cat([wanted.mT.contiguous()] * 2))


def test_a_missing_operator_on_mps_says_what_to_do() -> None:
    advice = r"aten::linear.*Use --device cpu, or start again with PYTORCH_ENABLE_MPS"
    with pytest.raises(DeviceError, match=advice), NO_GPU.running():
        _absent()
    with pytest.raises(NotImplementedError), CPU.running():
        _absent()


def test_what_goes_to_mps_is_contiguous_float32() -> None:
    model = nn.Linear(4, 6)
    model.weight.data = torch.randn(4, 6).mT
    shared = model.weight
    place(model, CPU)
    assert not model.weight.is_contiguous()
    place(model, NO_GPU)
    assert model.weight.is_contiguous()
    assert model.weight is shared
    model.register_buffer("wide", torch.zeros(2, dtype=torch.float64))
    with pytest.raises(DeviceError, match="wide is float64"):
        place(model, NO_GPU)
    moved = to_device(torch.randn(3, 2, dtype=torch.float64).mT, NO_GPU)
    assert (moved.dtype, moved.is_contiguous()) == (torch.float32, True)
    assert to_device(torch.arange(3), NO_GPU).dtype == torch.int64
