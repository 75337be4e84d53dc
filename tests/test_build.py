"""The studio is put together lazily, and its page is closed to what it does not offer."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from studio.build import Late, build_studio, offered
from studio.settings import ROOT, Settings
from tests.tiny import make_sd15

PAGE = """
import json, sys
from studio.build import build_app, build_studio
from studio.settings import Settings
studio = build_studio(Settings())
before = sorted({"torch", "diffusers", "gradio"} & set(sys.modules))
page = build_app(studio)
after = sorted({"torch", "diffusers", "transformers"} & set(sys.modules))
named = page.get_api_info()["named_endpoints"]
public = {name: [one["parameter_name"] for one in facts["parameters"]] for name, facts in named.items()}
print(json.dumps({"before": before, "after": after, "public": public, "tabs": [b.id for b in page.blocks.values()
    if type(b).__name__ == "Tab"]}))
"""


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What a fresh process says about the page. Gradio leaves event loops open, so it is not built in this one."""
    told = subprocess.run([sys.executable, "-c", PAGE], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(told.stdout.splitlines()[-1])


def test_a_studio_is_put_together_without_heavy_imports(page: dict[str, Any]):
    assert page["before"] == []


def test_the_page_is_drawn_without_torch(page: dict[str, Any]):
    assert page["after"] == []


def test_the_page_offers_its_endpoints_and_their_names(page: dict[str, Any]):
    texts, seen = ["prompt", "negative_prompt"], ["seed", "width", "height", "steps", "guidance", "sampler", "model"]
    assert page["public"]["/text2img"] == [*texts, *seen, "precision"]
    fitted = [*seen, "precision", "fit", "ground"]
    assert page["public"]["/img2img"] == ["image", *texts, "strength", *fitted]
    assert page["public"]["/inpaint"] == ["image", "mask", *texts, "strength", "feather", "invert", *fitted]


def test_a_late_value_is_made_once_however_many_ask():
    made: list[int] = []
    entered = threading.Barrier(4)

    def make() -> int:
        made.append(1)
        return 7

    late = Late(make)

    def ask(_: int) -> int:
        entered.wait()
        return late.get()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [7] * 4
    assert made == [1]


def test_a_late_value_that_failed_is_made_by_the_next_who_asks():
    answers = iter([ValueError("no"), 7])

    def make() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    late = Late(make)
    with pytest.raises(ValueError, match="no"):
        late.get()
    assert not late.ready
    assert late.get() == 7


def test_strangers_are_offered_only_models_that_are_carried_along():
    families = offered(Settings(public=True))
    assert families
    assert {source.hub for family in families for spec in family.specs for source in spec.sources} == {"local"}


def test_strangers_are_offered_a_model_that_lies_here_already(tmp_path: Path):
    make_sd15(tmp_path / "sd15")
    families = offered(Settings(public=True, models_dir=tmp_path))
    assert {spec.id for family in families for spec in family.specs} == {"little-world", "sd15"}


def test_strangers_cannot_download():
    assert build_studio(Settings(public=True)).downloads is None
    assert build_studio(Settings()).downloads is not None


def test_the_default_model_is_the_little_world():
    assert next(iter(build_studio(Settings()).specs)) == "little-world"


def test_without_its_files_there_is_no_eye(tmp_path: Path):
    assert build_studio(Settings(models_dir=tmp_path)).eye is None


def test_an_eye_is_there_with_its_files(tmp_path: Path):
    (tmp_path / "perception").mkdir()
    (tmp_path / "perception" / "metrics.json").write_text("{}", encoding="utf-8")
    assert build_studio(Settings(models_dir=tmp_path)).eye is not None


def test_models_are_looked_for_in_the_folder_of_the_settings(tmp_path: Path):
    source = build_studio(Settings(models_dir=tmp_path)).specs["little-world"].sources[0]
    assert Path(source.repo) == tmp_path / "little-world"


def test_a_studio_has_not_started_before_it_is_used():
    assert not build_studio(Settings()).started
