"""The published quick start at full size gives what the loader gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from harness.claims.families import Family
from harness.models.ensemble import load_family
from tests.models.made import inputs

pytestmark = pytest.mark.usefixtures("two_threads")

CLASSES = {"lulc_nyc": 5, "tim_nyc": 5, "buildings_nyc": 2}


def quick_start(weights: Path, adapter: str, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """The card's steps, in its order and with its arguments, device and source of the weights replaced.

    msradam/riprap-nyc, experiments/18_terramind_nyc_lora/HF_README.md at 6a82282: task with a pretrained
    backbone, LoRA injected, both files loaded with strict=False.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from terratorch.models.backbones.terramind.model import terramind_register
    from terratorch.tasks import SemanticSegmentationTask

    monkeypatch.setattr(terramind_register, "hf_hub_download", lambda **_: str(weights / "TerraMind_v1_base.pt"))
    arguments = {
        "backbone": "terramind_v1_base",
        "backbone_pretrained": True,
        "backbone_modalities": ["S2L2A", "S1RTC", "DEM"],
        "backbone_use_temporal": True,
        "backbone_temporal_pooling": "concat",
        "backbone_temporal_n_timestamps": 4,
        "necks": [
            {"name": "SelectIndices", "indices": [2, 5, 8, 11]},
            {"name": "ReshapeTokensToImage", "remove_cls_token": False},
            {"name": "LearnedInterpolateToPyramidal"},
        ],
        "decoder": "UNetDecoder",
        "decoder_channels": [512, 256, 128, 64],
        "head_dropout": 0.1,
        "num_classes": CLASSES[adapter],
    }
    task = SemanticSegmentationTask(
        model_factory="EncoderDecoderFactory",
        model_args=arguments,
        loss="ce",
        lr=1e-4,
        freeze_backbone=False,
        freeze_decoder=False,
    )
    config = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules=["attn.qkv", "attn.proj"], bias="none")
    inject_adapter_in_model(config, task.model.encoder)
    lora = load_file(weights / adapter / "adapter_model.safetensors")
    head = load_file(weights / adapter / "decoder_head.safetensors")
    own = {k.removeprefix("encoder."): v for k, v in lora.items() if k.startswith("encoder.")}
    assert not task.model.encoder.load_state_dict(own, strict=False).unexpected_keys
    for part in ("decoder", "neck", "head", "aux_heads"):
        state = {k[len(part) + 1 :]: v for k, v in head.items() if k.startswith(part + ".")}
        if state and hasattr(task.model, part):
            getattr(task.model, part).load_state_dict(state, strict=False)
    task.eval()
    model: torch.nn.Module = task.model
    return model


@pytest.mark.parametrize("adapter", ["lulc_nyc", "buildings_nyc"])
def test_the_cards_quick_start_gives_the_same(
    nyc: Family, nyc_weights: Path, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = inputs(224, identical=False)
    model = quick_start(nyc_weights, adapter, monkeypatch)
    with torch.no_grad():
        theirs = model({m: torch.from_numpy(a)[None] for m, a in x.arrays.items()}).output[0].numpy()
    del model
    ensemble = load_family(nyc, nyc_weights, tasks=[adapter], device="cpu")
    ours = ensemble.predict(x, [adapter])[adapter]
    assert np.abs(theirs - ours.logits).max() <= 1e-5
    assert np.array_equal(theirs.argmax(0), ours.classes)
    assert len(np.unique(ours.classes)) > 1


def test_the_published_counts_come_out_at_full_size(nyc: Family, nyc_weights: Path) -> None:
    ensemble = load_family(nyc, nyc_weights, device="cpu")
    topology = nyc.topology
    assert topology is not None
    for adapter in nyc.adapters:
        audit = ensemble.adapters[adapter.id].audit
        assert audit.blocks == topology.blocks
        assert audit.lora_applied == audit.lora_expected == 24 * topology.lora_places[adapter.id]
        assert audit.decoder_parameters == topology.decoder_parameters(adapter.classes)
        assert audit.batch_norm.in_file == audit.batch_norm.moved == 9
        entries = next(f.entries for f in audit.files if f.role == "decoder")
        assert entries == audit.decoder_parameters + topology.decoder_buffers
    assert ensemble.adapters["lulc_nyc"].audit.encoder_parameters == topology.encoder_parameters
    assert ensemble.adapters["lulc_nyc"].audit.lora_parameters == 884_736
    assert ensemble.adapters["tim_nyc"].audit.lora_parameters == 3_538_944
