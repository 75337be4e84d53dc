"""The choice of models, and the drawer that tells of all of them and downloads what is not here."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from studio.build import Studio, build_studio
from studio.engine.downloads import Downloads
from studio.engine.jobs import Job
from studio.errors import ModelUnavailable
from studio.events import FINAL_EVENTS, Context, Downloading
from studio.settings import Settings
from studio.tabs import TABS
from studio.text import LANGUAGES, size, t
from studio.types import ModelSpec
from studio.ui.models import Card, ModelsDrawer, draw_models, offers
from studio.ui.services import Services
from tests.tiny import make_little_world, make_sd15, make_sdxl

ENGLISH = SimpleNamespace(query_params={}, headers={"accept-language": "en"})
PATIENCE_SECONDS = 30
GB = 10**9


@dataclass
class Slow:
    """A download of 2 GB that stops half-way until it is let go, and then ends as `end` says."""

    spec: ModelSpec
    go: threading.Event
    end: Callable[[ModelSpec], object]

    def run(self, context: Context) -> object:
        context.emit(Downloading(self.spec.id, GB, 2 * GB, "unet/model.safetensors"))
        while not self.go.wait(0.01):
            context.check_cancelled()
        return self.end(self.spec)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny little world, Stable Diffusion 1.5 and SDXL Turbo; SDXL itself is not there."""
    root = tmp_path_factory.mktemp("models")
    make_little_world(root / "little-world")
    make_sd15(root / "sd15")
    make_sdxl(root / "sdxl-turbo", spacing="trailing")
    return root


@pytest.fixture
def settings(models: Path, tmp_path: Path) -> Settings:
    return Settings(models_dir=models, data_dir=tmp_path)


@pytest.fixture
def studio(settings: Settings) -> Studio:
    return build_studio(settings)


@pytest.fixture
def go() -> threading.Event:
    return threading.Event()


@pytest.fixture
def ending() -> dict[str, Callable[[ModelSpec], object]]:
    return {"end": lambda spec: None}


@pytest.fixture
def drawer(
    studio: Studio, page: gr.Blocks, go: threading.Event, ending: dict[str, Callable[[ModelSpec], object]]
) -> Iterator[ModelsDrawer]:
    """The drawer of a studio whose downloads wait."""
    downloads = Downloads(lambda spec: Slow(spec, go, ending["end"]))
    late = SimpleNamespace(get=lambda: downloads, ready=True)
    drawn = draw_models(replace(studio, downloads=late))
    drawn.connect(gr.Button())
    yield drawn
    go.set()
    downloads.close()


def card_of(drawer: ModelsDrawer, model_id: str) -> Card:
    return next(card for card in drawer.cards if card.spec.id == model_id)


def press(drawer: ModelsDrawer, button: gr.Button | None) -> dict[Any, Any]:
    """What a click on one of the drawer's buttons changes."""
    assert button is not None
    (event,) = [one for one in gr.context.Context.root_block.fns.values() if (button._id, "click") in one.targets]
    return event.fn(ENGLISH)


def job_of(drawer: ModelsDrawer, model_id: str) -> Job:
    job = drawer.studio.downloads.get().job(model_id)
    assert job is not None
    return job


def wait_for(drawer: ModelsDrawer, model_id: str, kinds: Any) -> None:
    """Until a download is this far."""
    for event in job_of(drawer, model_id).tail(PATIENCE_SECONDS):
        if isinstance(event, kinds):
            return
    pytest.fail("the download did not come so far")


def shown(updates: dict[Any, Any], part: Any) -> bool:
    return bool(updates[part]["visible"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_model_says_what_it_is_and_what_it_takes(drawer: ModelsDrawer, language: str):
    updates = drawer.updates(language)
    for card in drawer.cards:
        told = unescape(updates[card.facts])
        assert t(f"model.{card.spec.id}.about", language) in told
        assert card.spec.license in told
    assert card_of(drawer, "sdxl").spec.license_url in updates[card_of(drawer, "sdxl").facts]
    assert size(6_937_675_734) in updates[card_of(drawer, "sdxl").facts]


def test_what_is_here_has_nothing_to_download_and_what_is_not_has(drawer: ModelsDrawer):
    updates = drawer.updates("en")
    absent = {card.spec.id for card in drawer.cards if card.start is not None and shown(updates, card.start)}
    steering = {"sd15-controlnet-canny", "sd15-controlnet-depth", "sd15-controlnet-pose", "sd15-ip-adapter"}
    assert absent == {"sd15-inpaint", "sdxl"} | steering
    assert card_of(drawer, "little-world").start is None


def test_a_model_too_large_for_this_machine_says_so(drawer: ModelsDrawer, studio: Studio):
    registry = SimpleNamespace(dtype="float32", limit_bytes=8 * GB)
    engine = SimpleNamespace(ready=True, get=lambda: SimpleNamespace(registry=registry))
    updates = replace(drawer, studio=replace(drawer.studio, engine=engine)).updates("en")
    assert "more than models may take here (8.0 GB)" in updates[card_of(drawer, "sdxl").facts]
    assert "more than" not in updates[card_of(drawer, "sd15").facts]


def test_a_download_shows_how_far_it_is_to_whoever_looks(drawer: ModelsDrawer):
    card = card_of(drawer, "sdxl")
    press(drawer, card.start)
    wait_for(drawer, "sdxl", Downloading)
    updates = drawer.updates("en")
    assert 'aria-valuenow="50"' in updates[card.facts]
    assert "1.0 GB of 2.0 GB (50%) · unet/model.safetensors" in updates[card.facts]
    assert (shown(updates, card.start), shown(updates, card.stop)) == (False, True)


def test_a_second_download_waits_for_the_first(drawer: ModelsDrawer):
    press(drawer, card_of(drawer, "sdxl").start)
    wait_for(drawer, "sdxl", Downloading)
    updates = press(drawer, card_of(drawer, "sd15-inpaint").start)
    assert t("models.queued", "en") in updates[card_of(drawer, "sd15-inpaint").facts]


def test_a_stopped_download_offers_to_go_on(drawer: ModelsDrawer):
    card = card_of(drawer, "sdxl")
    press(drawer, card.start)
    wait_for(drawer, "sdxl", Downloading)
    press(drawer, card.stop)
    wait_for(drawer, "sdxl", FINAL_EVENTS)
    updates = drawer.updates("en")
    assert updates[card.start] == gr.update(visible=True, value="Go on")
    assert not shown(updates, card.stop)
    assert t("models.stopped", "en") in updates[card.facts]


def test_a_download_that_failed_says_why(
    drawer: ModelsDrawer, go: threading.Event, ending: dict[str, Callable[[ModelSpec], object]]
):
    def fail(spec: ModelSpec) -> None:
        raise ModelUnavailable("hub_offline", model=spec.id)

    ending["end"] = fail
    go.set()
    card = card_of(drawer, "sdxl")
    press(drawer, card.start)
    wait_for(drawer, "sdxl", FINAL_EVENTS)
    assert "HF_HUB_OFFLINE" in drawer.updates("zh")[card.facts]


def test_a_model_that_came_is_here_at_once(
    drawer: ModelsDrawer, models: Path, go: threading.Event, ending: dict[str, Callable[[ModelSpec], object]]
):
    card = card_of(drawer, "sdxl")
    drawer.updates("en")
    ending["end"] = lambda spec: make_sdxl(models / "sdxl")
    go.set()
    press(drawer, card.start)
    wait_for(drawer, "sdxl", FINAL_EVENTS)
    updates = drawer.updates("en")
    shutil.rmtree(models / "sdxl")
    assert t("models.here", "en") in updates[card.facts]
    assert not shown(updates, card.start)


def test_a_damaged_model_names_its_file(drawer: ModelsDrawer, models: Path):
    file = models / "sd15" / "vae" / "diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    try:
        told = drawer.updates("en")[card_of(drawer, "sd15").facts]
    finally:
        file.write_bytes(whole)
    assert t("models.broken", "en") in told
    assert "vae/diffusion_pytorch_model.safetensors" in told


def test_strangers_see_no_download_and_can_start_none(settings: Settings, page: gr.Blocks):
    studio = build_studio(replace(settings, public=True))
    drawn = draw_models(studio)
    drawn.connect(gr.Button())
    assert studio.downloads is None
    assert {card.spec.id for card in drawn.cards} >= {"little-world", "sd15", "sdxl-turbo"}
    assert all(card.start is None and card.stop is None for card in drawn.cards)
    updates = drawn._handler("start", studio.specs["sd15"])(ENGLISH)
    assert "open to everybody" in updates[drawn.alert]["message"]


def built(studio: Studio, page: gr.Blocks) -> Services:
    """Every tab of the studio, drawn on a page."""
    services = Services(studio, page, gr.BrowserState(), gr.Tabs(), gr.Tab(), gr.State())
    with gr.Tabs() as tabs:
        for tab in TABS:
            with gr.Tab(tab.id) as one:
                tab.build(replace(services, tabs=tabs, tab=one))
    return services


def test_every_choice_offers_what_is_here_and_follows_what_comes(studio: Studio, page: gr.Blocks):
    services = built(studio, page)
    assert {choice.widget.elem_id for choice in services.models} >= {"text2img-model"}
    for choice in services.models:
        offered = {value for _, value in choice.widget.choices}
        assert offered == {"little-world", "sd15", "sdxl-turbo"} & choice.specs.keys()
    updates = offers(services.models, ("little-world", "sd15"))
    for choice in services.models:
        assert [value for _, value in updates[choice.widget]["choices"]] == ["little-world", "sd15"]
    alone = offers(services.models, ())
    assert not any(alone[choice.widget]["visible"] for choice in services.models)


@pytest.mark.parametrize("model_id", ["little-world", "sd15", "sdxl", "sdxl-turbo"])
def test_choosing_a_model_fills_in_its_own_settings_on_every_tab(studio: Studio, page: gr.Blocks, model_id: str):
    """But where they are not shown: a comparison always takes the model's own."""
    services = built(studio, page)
    defaults = studio.specs[model_id].defaults
    shown = [one for one in services.models if one.widget.elem_id != "quant-base"]
    assert len(shown) == len(services.models) - 1 >= 5
    for choice in (one for one in shown if model_id in one.specs):
        (event,) = [one for one in page.fns.values() if (choice.widget._id, "input") in one.targets]
        values = [update["value"] for update in event.fn(model_id).values()]
        assert values[:5] == [
            defaults.width,
            defaults.height,
            defaults.num_inference_steps,
            defaults.guidance_scale,
            defaults.scheduler.value,
        ]
