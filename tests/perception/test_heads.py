from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from studio.errors import ModelUnavailable
from studio.lineage import FACTS, weights_sha256
from studio.perception.heads import (
    FOLDER,
    WEIGHTS,
    Heads,
    Structure,
    StructureReader,
    eye_views,
    peaks_of,
)
from studio.perception.measure import WEIGHTS as EYE_WEIGHTS
from studio.perception.network import SIDE, Eye
from studio.perception.structure import CELLS
from studio.world.pose import JOINTS


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """An eye and heads with random weights, as training leaves them."""
    torch.manual_seed(0)
    for folder in ("perception", FOLDER):
        (tmp_path / folder).mkdir()
    save_file(Eye().state_dict(), tmp_path / "perception" / EYE_WEIGHTS)
    save_file(Heads().state_dict(), tmp_path / FOLDER / WEIGHTS)
    facts = {"metrics": {"depth_order": 0.9}, "sha256": "ab", "builds_on": {}}
    facts["builds_on"] = {"eye": weights_sha256(tmp_path / "perception")}
    (tmp_path / FOLDER / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def network() -> tuple[Eye, Heads]:
    torch.manual_seed(0)
    return Eye().eval(), Heads().eval()


def test_heads_read_depth_places_and_whether_a_joint_is_there(network: tuple[Eye, Heads]):
    eye, heads = network
    x = torch.rand(2, 3, SIDE, SIDE) * 2 - 1
    logits = heads(x, eye_views(eye, x))
    assert logits.depth.shape == (2, CELLS, CELLS)
    assert logits.places.shape == (2, len(JOINTS), CELLS, CELLS)
    assert logits.seen.shape == (2, len(JOINTS))
    assert ((logits.depth >= 0) & (logits.depth <= 1)).all()


def test_the_views_are_those_on_the_way_to_the_eyes_features(network: tuple[Eye, Heads]):
    eye, _ = network
    x = torch.rand(2, 3, SIDE, SIDE) * 2 - 1
    views = eye_views(eye, x)
    assert [tuple(view.shape[1:]) for view in views] == [(32, 64, 64), (64, 32, 32), (128, 16, 16), (192, 8, 8)]
    torch.testing.assert_close(views[-1].mean((2, 3)), eye(x).features)


def test_the_eye_gets_no_gradient_from_its_heads(network: tuple[Eye, Heads]):
    eye, heads = network
    x = torch.rand(1, 3, SIDE, SIDE)
    heads(x, eye_views(eye, x)).depth.sum().backward()
    assert all(p.grad is None for p in eye.parameters())
    assert all(p.grad is not None for name, p in heads.named_parameters() if not name.startswith("answers"))


@pytest.mark.parametrize(("x", "y"), [(0.5, 0.5), (0.313, 0.772), (0.012, 0.98)])
def test_the_centre_of_a_peak_is_found_between_the_cells(x: float, y: float):
    places = (np.arange(CELLS) + 0.5) / CELLS
    squared = ((places[None, :] - x) ** 2 + (places[:, None] - y) ** 2) * CELLS**2
    (found,) = peaks_of(torch.from_numpy(-squared / 2)[None, None])[0].tolist()
    assert found == pytest.approx([x, y], abs=0.4 / CELLS)


def test_a_second_lower_peak_does_not_pull():
    places = torch.zeros(1, 1, CELLS, CELLS)
    places[0, 0, 10, 20], places[0, 0, 50, 60] = 30.0, 29.5
    assert peaks_of(places)[0, 0].tolist() == pytest.approx([20.5 / CELLS, 10.5 / CELLS], abs=1e-4)


def test_what_was_read_becomes_maps():
    depth = np.linspace(0, 1, CELLS, dtype=np.float32)[:, None].repeat(CELLS, 1)
    joints = np.full((18, 2), 0.5, np.float32)
    seen = np.zeros(18, bool)
    structure = Structure(depth, joints, seen)
    drawn = structure.depth_map(128)
    assert drawn.shape == (128, 128, 3) and drawn[0].max() == 0 and drawn[-1].min() == 255
    assert not structure.pose_map(128).any()
    seen[0] = True
    assert structure.pose_map(128)[64, 64].tolist() == [255, 0, 0]


def test_a_reader_reads_pictures_of_any_size(models: Path):
    reader = StructureReader.load(models)
    (small,), (large,) = (reader.read([Image.new("RGB", (side, side), "teal")]) for side in (SIDE, 2 * SIDE))
    np.testing.assert_allclose(small.depth, large.depth, atol=1e-5)
    assert reader.ceilings == {"depth_order": 0.9}


def test_heads_that_are_missing_say_how_to_train_them(tmp_path: Path):
    with pytest.raises(ModelUnavailable, match="train heads"):
        StructureReader.load(tmp_path)


def test_heads_of_another_eye_are_refused_by_name(models: Path):
    save_file(Eye().state_dict(), models / "perception" / EYE_WEIGHTS)
    with pytest.raises(ModelUnavailable) as refused:
        StructureReader.load(models)
    assert (refused.value.key, refused.value.values["model"]) == ("other_base", FOLDER)
