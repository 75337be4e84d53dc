from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from studio.lineage import weights_sha256
from studio.perception.heads import FOLDER, StructureReader
from studio.perception.structure import CELLS
from studio.train import heads, perception, places
from studio.train.heads import HIDDEN_WEIGHT, PRESETS, Data, correlation, places_loss
from studio.train.run import Options
from studio.world.scene import FIRST_HELD_OUT_SEED
from tests.tiny import make_little_world


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a tiny autoencoder, an eye and the heads that were trained beside it for a few steps."""
    folder = make_little_world(tmp_path_factory.mktemp("read"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "RUNS", folder.parent / "runs-of-heads")
        perception.main(Options("smoke", out=folder))
        before = (folder / "perception" / "eye.safetensors").read_bytes()
        heads.main(Options("smoke", out=folder))
        assert (folder / "perception" / "eye.safetensors").read_bytes() == before
        yield folder


def test_training_leaves_heads_that_read_pictures_beside_the_same_eye(read: Path):
    reader = StructureReader.load(read)
    (structure,) = reader.read([Image.new("RGB", (128, 128), "gray")])
    assert structure.depth.shape == (CELLS, CELLS)
    assert set(reader.ceilings) == {
        "depth_order",
        "joints_in_place",
        "depth_order_given_back",
        "joints_in_place_given_back",
    }


def test_the_heads_say_what_they_build_on(read: Path):
    facts = json.loads((read / FOLDER / "metrics.json").read_text(encoding="utf-8"))
    expected = {"eye": weights_sha256(read / "perception"), "vae": weights_sha256(read / "vae")}
    assert facts["builds_on"] == expected
    assert facts["sha256"] == weights_sha256(read / FOLDER)


def test_heads_can_start_from_weights(read: Path, tmp_path: Path):
    (tmp_path / "perception").symlink_to(read / "perception")
    (tmp_path / "vae").symlink_to(read / "vae")
    heads.main(Options("smoke", minutes=1e-6, init_from=read / FOLDER, out=tmp_path))
    assert json.loads((tmp_path / FOLDER / "metrics.json").read_text(encoding="utf-8"))["warm_start"] is True


def logits_at(x: int, y: int) -> torch.Tensor:
    places_ = torch.zeros(1, 18, CELLS, CELLS)
    places_[..., y, x] = 20.0
    return places_


def test_the_loss_of_places_is_least_at_the_true_cell():
    joints, visible = torch.full((1, 18, 2), (20 + 0.5) / CELLS), torch.ones(1, 18)
    losses = {shift: float(places_loss(logits_at(20 + shift, 20), joints, visible)) for shift in (-3, -1, 0, 1, 3)}
    assert min(losses, key=lambda shift: losses[shift]) == 0
    assert losses[-1] == pytest.approx(losses[1], rel=1e-4)


def test_pictures_without_a_person_have_no_loss_of_places():
    nobody = torch.full((1, 18, 2), torch.nan)
    assert float(places_loss(logits_at(3, 3), nobody, torch.zeros(1, 18))) == 0


def test_hidden_joints_and_ones_outside_count_less():
    joints, visible = torch.full((1, 18, 2), 0.5), torch.ones(1, 18)
    joints[0, 1], joints[0, 2] = 0.1, 1.2
    visible[0, 1:3] = 0
    wrong, right = logits_at(60, 2), torch.zeros(1, 18, CELLS, CELLS)
    wrong[:, 3:] = right[:, 3:] = 0
    losses = [
        float(places_loss(torch.where(torch.arange(18)[:, None, None] == i, wrong, right), joints, visible))
        for i in (0, 1, 2)
    ]
    nothing = float(places_loss(right, joints, visible))
    assert losses[2] == pytest.approx(nothing)
    assert (losses[1] - nothing) / (losses[0] - nothing) == pytest.approx(HIDDEN_WEIGHT, rel=0.05)


def test_the_correlation_inside_is_pearsons():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, 8, 8, generator=generator) * 10
    inside = torch.rand(3, 8, 8, generator=generator) > 0.4
    inside[2] = False  # a picture without entities is left out
    found = correlation(a, b, inside.float())
    expected = [torch.corrcoef(torch.stack([a[i][inside[i]], b[i][inside[i]]]))[0, 1] for i in range(2)]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-3, atol=1e-4)


def test_batches_have_the_wished_share_of_people_and_of_reconstructions():
    people = np.arange(0, 1_000, 10)
    pictures = np.zeros((1_000, 1, 1, 3), np.uint8)
    data = Data(pictures, pictures[:100], np.zeros(1_000), people)
    rows, from_vae = data.picks(20_000, PRESETS["cpu"], np.random.default_rng(0))
    wished = PRESETS["cpu"].people + (1 - PRESETS["cpu"].people) * 0.1
    assert from_vae.mean() == pytest.approx(PRESETS["cpu"].given_back, abs=0.02)
    assert np.isin(rows, people).mean() == pytest.approx(wished, abs=0.02)
    assert rows[from_vae].max() < 100 and rows[~from_vae].max() > 900


def test_heads_learn_from_no_seed_that_measures():
    assert all(preset.pictures <= FIRST_HELD_OUT_SEED for preset in PRESETS.values())
