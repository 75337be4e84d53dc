"""A little world trained for a few steps, once for all tests that look at what training leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.train import clip, perception, places, unet, upscale, vae
from studio.train.run import Options
from studio.train.tokenizer import build_tokenizer


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the stages wrote into, one after another; the runs lie beside it."""
    folder: Path = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "RUNS", folder.parent / "runs")
        build_tokenizer(300).save_pretrained(folder / "tokenizer")
        for stage in (vae, unet, perception, clip, upscale):
            stage.main(Options("smoke", out=folder))
        yield folder
