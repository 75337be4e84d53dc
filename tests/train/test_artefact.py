from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from studio.train import artefact, places
from studio.train.artefact import BY_HAND, LEDGER_COLUMNS, ledger_with, save_component, weights_sha256
from studio.train.run import Options, Run

VALUES = dict.fromkeys(LEDGER_COLUMNS, "1") | {"artefact": "little-world/vae", "metrics": "psnr_db 27.1"}
HEAD = f"| {' | '.join((*LEDGER_COLUMNS, BY_HAND))} |"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(places, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(artefact, "MODELS", tmp_path)
    (tmp_path / "TRAINING.md").write_text("# Ledger\n", encoding="utf-8")
    return tmp_path


def trial(options: Options) -> Run:
    return Run("vae", 0, 1, options, minutes=1)


def test_the_first_row_brings_the_head():
    lines = ledger_with("# Ledger\n", VALUES).splitlines()
    assert lines[:3] == ["# Ledger", "", HEAD]
    assert lines[3].count("---") == len(LEDGER_COLUMNS) + 1
    assert lines[4].startswith("| little-world/vae | 1 |") and "psnr_db 27.1" in lines[4]


def test_a_row_is_replaced_and_keeps_what_a_person_wrote():
    ledger = ledger_with("", VALUES).replace("|  |", "| 2 dB more |")
    replaced = ledger_with(ledger, VALUES | {"metrics": "psnr_db 29.0"})
    assert "27.1" not in replaced
    assert replaced.splitlines()[-1].endswith("| psnr_db 29.0 | 1 | 2 dB more |")
    assert len(replaced.splitlines()) == len(ledger.splitlines())


def test_replacing_a_row_leaves_the_others():
    ledger = ledger_with(ledger_with("# Ledger\n", VALUES), VALUES | {"artefact": "little-world/unet"})
    assert ledger_with(ledger, VALUES) == ledger


def test_the_projects_own_ledger_keeps_every_row_when_one_is_told_again():
    ledger = (places.MODELS / "TRAINING.md").read_text(encoding="utf-8")
    assert HEAD in ledger.splitlines()
    assert len(ledger_with(ledger, VALUES).splitlines()) == len(ledger.splitlines())


def test_a_row_says_what_the_artefact_builds_on(models: Path):
    (models / "metrics.json").write_text(json.dumps({"builds_on": {"vae": "ab" * 32}}), encoding="utf-8")
    artefact.write_ledger_row(trial(Options("cpu")), "unet", models, {"mse": 0.2, "latent_std": [1, 2]})
    row = (models / "TRAINING.md").read_text(encoding="utf-8").splitlines()[-1]
    assert row.endswith("| mse 0.2 | vae abababababab |  |")


@pytest.mark.parametrize("options", [Options("smoke"), Options("cpu", out=Path("elsewhere"))])
def test_trials_and_other_folders_are_not_told_of(models: Path, options: Options):
    artefact.write_ledger_row(trial(options), "vae", models, {})
    assert (models / "TRAINING.md").read_text(encoding="utf-8") == "# Ledger\n"


def test_the_hash_of_weights_is_over_names_and_contents_of_all_shards(tmp_path: Path):
    (tmp_path / "b.safetensors").write_bytes(b"2")
    (tmp_path / "a.safetensors").write_bytes(b"1")
    (tmp_path / "config.json").write_bytes(b"{}")
    expected = b"a.safetensors" + hashlib.sha256(b"1").digest() + b"b.safetensors" + hashlib.sha256(b"2").digest()
    assert weights_sha256(tmp_path) == hashlib.sha256(expected).hexdigest()


def test_a_component_is_written_in_half_precision_without_what_was_there(models: Path):
    from diffusers import AutoencoderTiny

    vae = AutoencoderTiny(
        encoder_block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        num_encoder_blocks=(1,) * 4,
        num_decoder_blocks=(1,) * 4,
    )
    folder = models / "vae"
    folder.mkdir()
    (folder / "old-00002-of-00002.safetensors").write_bytes(b"")
    save_component(vae, folder, trial(Options("smoke")), {"batch": 4}, {"psnr_db": 20.0}, base="ab")
    assert [path.name for path in folder.glob("*.safetensors*")] == ["diffusion_pytorch_model.safetensors"]
    assert {t.dtype for t in load_file(folder / "diffusion_pytorch_model.safetensors").values()} == {torch.float16}
    facts = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert facts["sha256"] == weights_sha256(folder)
    assert (facts["stage"], facts["preset"], facts["builds_on"]) == ("vae", "smoke", {"base": "ab"})
    assert next(vae.parameters()).dtype == torch.float32
