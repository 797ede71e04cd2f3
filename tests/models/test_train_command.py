"""`harness train` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import app
from harness.errors import HarnessError, RegistryError
from tests.models.test_train import PUBLISHED


def run(*words: str) -> None:
    app(["train", *words], standalone_mode=False)


def test_the_smoke_is_told_and_the_adapter_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(PUBLISHED, encoding="utf-8")
    run(str(config), "--smoke", "--json", f"--export={tmp_path / 'made'}")
    record = json.loads(capsys.readouterr().out)
    assert isinstance(record, dict)
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == [
        *("adapter_config.json", "adapter_model.safetensors", "decoder_head.safetensors"),
    ]
    with pytest.raises(HarnessError, match="holds something already"):
        run(str(config), "--smoke", f"--export={tmp_path / 'made'}")
    assert "\n24 of 24 LoRA pairs can learn.\n" in capsys.readouterr().out


def test_a_training_names_its_folder_and_a_broken_config_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("backbone: [", encoding="utf-8")
    with pytest.raises(RegistryError, match="name the folder of the family's weights with --out"):
        run(str(config))
    with pytest.raises(HarnessError, match=r"config\.yaml"):
        run(str(config), "--smoke")
    with pytest.raises(HarnessError, match="nowhere"):
        run(str(tmp_path / "nowhere.yaml"), "--smoke")
