"""The map of codes, on small autoencoders that were never trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from studio.diffusion.vae import Autoencoder
from studio.engine.codes import MAP_CELLS, REACH, VARIANTS, Lab, code_at
from studio.errors import InvalidInput, ModelUnavailable


@pytest.fixture(scope="module")
def lab() -> Lab:
    torch.manual_seed(0)
    models = {"plain": Autoencoder(8, width=4, variational=False), "full": Autoencoder(8, width=4)}
    return Lab(models, {"plain": None, "full": 1.0}, 8)


@pytest.mark.parametrize(("column", "row"), [(0, 0), (10, 0), (5, 5), (3, 8)])
def test_the_place_of_a_click_is_the_code_that_the_map_shows_there(lab: Lab, column: int, row: int):
    code = code_at((column + 0.5) / MAP_CELLS, (row + 0.5) / MAP_CELLS)
    mapped = lab.map("full")[:, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
    torch.testing.assert_close(mapped, lab.decoded("full", code)[0], rtol=0, atol=1e-5)
    assert max(map(abs, code)) <= REACH + 1e-9


def test_scale_zero_is_the_reconstruction_and_more_is_not(lab: Lab):
    x = torch.rand(1, 3, 8, 8) * 2 - 1
    model = lab.model("full")
    still, moved = (lab.variants("full", x, scale, 0) for scale in (0.0, 1.0))
    with torch.inference_mode():
        torch.testing.assert_close(still, model.decode(model.encode(x)[0]).expand(VARIANTS, -1, -1, -1))
    assert float((moved - still).abs().max()) > 0


def test_a_plain_autoencoder_has_no_variants(lab: Lab):
    found = lab.variants("plain", torch.zeros(1, 3, 8, 8), 3.0, 0)
    assert torch.equal(found[0], found[-1])
    assert bool(found.isfinite().all())


def test_an_unknown_name_and_a_missing_folder_are_told(lab: Lab, tmp_path: Path):
    with pytest.raises(InvalidInput, match="plain"):
        lab.map("huge")
    with pytest.raises(ModelUnavailable, match=r"config\.json"):
        Lab.load(tmp_path / "vae-lab")
