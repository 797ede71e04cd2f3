"""Backbones of other distributions, and the survey of what builds here."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from harness.errors import StackError, TopologyError
from harness.models import backbones, stack
from harness.models.backbones import BackboneStatus, Plugin, Survey, register_plugins, render, require, survey, to_dict

TINY = """
import torch

class Tiny(torch.nn.Module):
    def __init__(self, in_chans, out_channels, gives):
        super().__init__()
        self.scale = torch.nn.Conv2d(in_chans, 6, 3, stride=4, padding=1)
        if out_channels is not None:
            self.out_channels = out_channels
        self.gives = gives

    def forward(self, x):
        features = torch.relu(self.scale(x))
        return {"list": [features], "tensor": features, "two": [features, features]}[self.gives]

def tiny(in_chans=2, out_channels=(6,), gives="list", **kwargs):
    return Tiny(in_chans, None if out_channels is None else list(out_channels), gives)

def no_module(**kwargs):
    return tiny

def crash(**kwargs):
    import os
    os._exit(7)

def online(**kwargs):
    import urllib.request
    urllib.request.urlopen("https://example.invalid/weights.safetensors")

number = 5
"""
"""A module with a backbone of 6 channels at a quarter of the input's size, and with unfit ones."""


def distribution(folder: Path, name: str, entries: dict[str, str]) -> Path:
    """An installed distribution: a module and its metadata with entry points."""
    module = name.replace("-", "_")
    info = folder / f"{module}-0.1.dist-info"
    info.mkdir()
    (folder / f"{module}.py").write_text(TINY, encoding="utf-8")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n", encoding="utf-8")
    lines = "".join(f"{key} = {module}:{value}\n" for key, value in entries.items())
    (info / "entry_points.txt").write_text(f"[{backbones.GROUP}]\n{lines}", encoding="utf-8")
    (info / "RECORD").write_text("", encoding="utf-8")
    return folder


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder on the path; what is registered from it goes when the test ends."""
    stack.prepare()
    from terratorch.registry import TERRATORCH_BACKBONE_REGISTRY

    kept = dict(TERRATORCH_BACKBONE_REGISTRY._registry)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(backbones, "_registered", {})
    yield tmp_path
    TERRATORCH_BACKBONE_REGISTRY._registry.clear()
    TERRATORCH_BACKBONE_REGISTRY._registry.update(kept)
    for name in [m for m in sys.modules if m.startswith("outside_")]:
        del sys.modules[name]


def reasons() -> dict[str, str | None]:
    """Why each plugin was refused."""
    return {p.name: p.reason for p in register_plugins()}


def test_a_backbone_from_outside_runs_a_chip_under_terratorchs_decoder(outside: Path) -> None:
    distribution(outside, "outside-tiny", {"tiny_outside": "tiny"})
    registered = Plugin("tiny_outside", "outside_tiny:tiny", "outside-tiny 0.1", None)
    assert register_plugins() == [registered]
    assert register_plugins() == [registered]  # and once more changes nothing
    from terratorch.models import EncoderDecoderFactory

    model = EncoderDecoderFactory().build_model(
        task="segmentation",
        backbone="tiny_outside",
        backbone_in_chans=3,
        decoder="FCNDecoder",
        decoder_channels=8,
        num_classes=5,
    )
    assert type(model.encoder).__module__ == "outside_tiny"
    chip = torch.linspace(-1, 1, 3 * 32 * 48).reshape(1, 3, 32, 48)
    logits = model(chip).output
    assert logits.shape == (1, 5, 32, 48)
    logits.square().sum().backward()
    assert float(model.encoder.scale.weight.grad.abs().sum()) > 0


def test_a_taken_name_is_refused_and_the_old_one_stays(outside: Path) -> None:
    from terratorch.registry import BACKBONE_REGISTRY, TERRATORCH_BACKBONE_REGISTRY

    before = TERRATORCH_BACKBONE_REGISTRY["terramind_v1_base"]
    distribution(outside, "outside-a", {"terramind_v1_base": "tiny", "resnet18": "tiny", "mine": "tiny"})
    distribution(outside, "outside-b", {"mine": "tiny"})
    found = register_plugins()
    assert [(p.name, p.distribution, p.reason) for p in found] == [
        ("mine", "outside-a 0.1", None),
        ("mine", "outside-b 0.1", "the name mine is taken by outside_a:tiny; choose another"),
        ("resnet18", "outside-a 0.1", "the name resnet18 is taken; choose another"),
        ("terramind_v1_base", "outside-a 0.1", "the name terramind_v1_base is taken; choose another"),
    ]
    assert TERRATORCH_BACKBONE_REGISTRY["terramind_v1_base"] is before
    assert type(BACKBONE_REGISTRY.build("mine")).__module__ == "outside_a"


def test_a_name_that_reads_as_another_library_is_refused(outside: Path) -> None:
    distribution(outside, "outside-c", {"timm_mine": "tiny", "terratorch_mine": "tiny", "timm": "tiny"})
    found = reasons()
    assert found["timm_mine"] == "its name begins with timm_, which TerraTorch reads as the library to look in"
    assert "terratorch_" in str(found["terratorch_mine"])
    assert found["timm"] is None


def test_a_factory_that_does_not_import_is_refused(outside: Path) -> None:
    distribution(outside, "outside-d", {"absent": "nowhere", "number": "number"})
    (outside / "outside_broken.py").write_text("import a_library_that_is_not_there", encoding="utf-8")
    info = outside / "outside_d-0.1.dist-info" / "entry_points.txt"
    info.write_text(info.read_text() + "broken = outside_broken:tiny\n", encoding="utf-8")
    found = reasons()
    assert "outside_d:nowhere does not import (AttributeError:" in str(found["absent"])
    assert "ModuleNotFoundError: No module named 'a_library_that_is_not_there'" in str(found["broken"])
    assert found["number"] == "outside_d:number is int and cannot be called"


@pytest.mark.parametrize(
    ("kwargs", "why"),
    [
        ({"out_channels": None}, "out_channels is None"),
        ({"out_channels": ()}, r"out_channels is \[\]"),
        ({"out_channels": ("6",)}, r"out_channels is \['6'\]"),
        ({"gives": "tensor"}, "forward gives Tensor, not a list"),
        ({"gives": "two"}, "forward gives 2 feature maps, out_channels names 1"),
        ({"out_channels": (7,)}, r"feature map 0 has shape \[1, 6, 4, 4\], out_channels says 7 channels"),
    ],
)
def test_an_unfit_module_is_refused_with_the_reason(kwargs: dict[str, object], why: str, outside: Path) -> None:
    distribution(outside, "outside-e", {"unfit": "tiny"})
    register_plugins()
    from terratorch.registry import BACKBONE_REGISTRY

    with pytest.raises(TopologyError, match=f"^backbone unfit: {why}"):
        BACKBONE_REGISTRY.build("unfit", **kwargs)(torch.zeros(1, 2, 16, 16))


def test_a_factory_that_gives_no_module_is_refused(outside: Path) -> None:
    distribution(outside, "outside-f", {"odd": "no_module"})
    register_plugins()
    from terratorch.registry import BACKBONE_REGISTRY

    with pytest.raises(TopologyError, match="backbone odd: its factory gives function, not a torch module"):
        BACKBONE_REGISTRY.build("odd")


def test_asking_for_a_backbone_says_what_is_wrong_with_it(outside: Path) -> None:
    distribution(outside, "outside-g", {"fine": "tiny", "gone": "nowhere"})
    require("fine")
    require("terramind_v1_base")
    require("timm_resnet18")
    with pytest.raises(TopologyError, match=r"backbone gone of outside-g 0\.1 was refused: outside_g:nowhere does not"):
        require("gone")
    with pytest.raises(TopologyError, match=r"no backbone terramind_v1_bass .* near names: terramind_v1_base"):
        require("terramind_v1_bass")


def test_the_survey_builds_what_it_can_and_says_why_not(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {"crash_outside": "crash", "online_outside": "online", "tiny_outside": "tiny", "prithvi_eo_tiny": "tiny"}
    distribution(tmp_path, "outside-h", entries)
    stack.prepare()
    from terratorch.registry import BACKBONE_REGISTRY

    in_memory = BACKBONE_REGISTRY.build("terramind_v1_tiny", pretrained=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(root)]))
    asked = ["terramind_v1_tiny", "crash_outside", "tiny_outside", "online_outside", "dinov3_vits16", "timm_resnet18"]
    said: list[str] = []
    found = survey([*asked, "no_such"], step=said.append)
    by_name = {s.name: s for s in found.statuses}
    assert list(by_name) == [*asked, "no_such"]
    assert {name: s.parameters for name, s in by_name.items() if s.builds} == {
        "terramind_v1_tiny": sum(p.numel() for p in in_memory.parameters()),
        "tiny_outside": 2 * 6 * 9 + 6,
        "timm_resnet18": 11_176_512,
    }
    assert by_name["crash_outside"].reason == "the building process ended with status 7"
    assert by_name["dinov3_vits16"].reason == "it needs ckpt_path, which only its user can give"
    assert str(by_name["online_outside"].reason).startswith("it asks for the network (URLError")
    assert str(by_name["no_such"].reason).startswith("no backbone no_such in TerraTorch's registry")
    assert {p.name for p in found.plugins if p.reason} == {"prithvi_eo_tiny"}
    assert found.left_out == {}
    assert said.count("importing the torch stack") == 2


def test_a_build_that_hangs_is_given_up_and_the_next_one_starts_afresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        import json, sys, time
        names = sys.argv[sys.argv.index("--") + 1:] if "--" in sys.argv else ["a", "hangs", "b"]
        print(json.dumps({"names": names, "plugins": [], "left_out": {"timm": 3}}), flush=True)
        for name in names:
            time.sleep(60 if name == "hangs" else 0)
            status = {"name": name, "builds": True, "duration_s": 0.1, "parameters": 4, "reason": None}
            print(json.dumps(status), flush=True)
    """
    (tmp_path / "slow_builds.py").write_text(textwrap.dedent(text), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(backbones, "BUILDS", "slow_builds")
    found = survey(timeout_s=2.0)
    assert [(s.name, s.builds, s.reason) for s in found.statuses] == [
        ("a", True, None),
        ("hangs", False, "no answer within 2 s"),
        ("b", True, None),
    ]
    assert found.left_out == {"timm": 3}


def test_a_stack_that_is_not_there_is_an_error_of_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no_builds.py").write_text('print(\'{"error": "not installed: peft"}\')', encoding="utf-8")
    (tmp_path / "dead_builds.py").write_text("raise SystemExit(9)", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(backbones, "BUILDS", "no_builds")
    with pytest.raises(StackError, match=r"^not installed: peft$"):
        survey()
    monkeypatch.setattr(backbones, "BUILDS", "dead_builds")
    with pytest.raises(StackError, match="the building process ended with status 9"):
        survey()


def test_what_people_and_programs_read() -> None:
    found = Survey(
        (BackboneStatus("a", True, 0.5, 5_500_000, None), BackboneStatus("bc", False, 2.0, None, "it hangs")),
        (Plugin("d", "m:f", "dist 1", None), Plugin("e", "m:g", "dist 1", "the name e is taken")),
        {"timm": 1374},
    )
    assert render(found).splitlines() == [
        "Backbones that build here, without weights: 1 of 2",
        "  a         5.5 M parameters    0.5 s",
        "",
        "Backbones that do not",
        "  bc  it hangs",
        "",
        "From other distributions (entry points of harness.backbones)",
        "  d  dist 1, m:f: registered",
        "  e  dist 1, m:g: the name e is taken",
        "",
        "Not tried: 1374 backbones that TerraTorch passes on from timm; name one to try it.",
    ]
    plain = json.loads(json.dumps(to_dict(found)))
    assert plain["schema"] == 1
    assert plain["statuses"][1]["parameters"] is None
