"""A program at the studio's door."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image

pytestmark = pytest.mark.e2e

GOOD: dict[str, Any] = {
    "prompt": "a red ball on the beach",
    "negative_prompt": "",
    "seed": 3,
    "width": 64,
    "height": 64,
    "steps": 2,
    "guidance": 4.0,
    "sampler": "ddim",
    "model": "little-world",
    "precision": "exact",
}


def ask(client: Client, **changed: Any) -> tuple[str, dict[str, Any]]:
    image, answer = client.predict(**{**GOOD, **changed}, api_name="/text2img")
    return image, answer


def test_it_answers_with_a_picture_and_the_request(client: Client):
    path, answer = ask(client)
    with Image.open(path) as image:
        assert image.size == (64, 64)
    assert (answer["phase"], answer["seed"], answer["sampler"]) == ("done", 3, "ddim")


def test_the_same_seed_gives_the_same_picture(client: Client):
    with Image.open(ask(client)[0]) as first, Image.open(ask(client)[0]) as second:
        assert first.tobytes() == second.tobytes()


def test_without_a_seed_one_is_drawn(client: Client):
    assert ask(client, seed=None)[1]["seed"] != ask(client, seed=None)[1]["seed"]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"width": 100}, "width must be a multiple of 8"),
        ({"height": 4096}, "height must be a whole number from 32 to 1024"),
        ({"steps": 0}, "num_inference_steps must be a whole number from 1 to 100"),
        ({"steps": 2.5}, "num_inference_steps must be a whole number"),
        ({"steps": "many"}, "num_inference_steps must be a whole number"),
        ({"guidance": 31}, "guidance_scale must be a number from 0"),
        ({"guidance": None}, "guidance_scale must be a number from 0"),
        ({"sampler": "magic"}, "scheduler must be one of ddim"),
        ({"sampler": ["ddim"]}, "scheduler must be one of ddim"),
        ({"model": "unknown"}, "base_id must be one of little-world"),
        ({"model": None}, "base_id must be one of little-world"),
        ({"prompt": "x" * 100_000}, "prompt may have at most 2000 characters"),
        ({"prompt": None}, "prompt must be text"),
        ({"prompt": ["a", "b"]}, "prompt must be text"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"seed": "seven"}, "seed must be a whole number from 0"),
    ],
)
def test_bad_input_is_refused_with_field_and_limit_and_the_next_request_works(
    client: Client, changed: dict[str, Any], sentence: str
):
    with pytest.raises(AppError, match=sentence):
        ask(client, **changed)
    assert ask(client)[1]["phase"] == "done"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_number_that_is_not_finite_is_refused_with_field_and_limit(url: str, number: str):
    values = json.dumps(list({**GOOD, "guidance": "HERE"}.values())).replace('"HERE"', number)
    call = f"{url}gradio_api/call/text2img"
    asked = Request(call, f'{{"data": {values}}}'.encode(), {"content-type": "application/json"})
    with urlopen(asked, timeout=30) as answer:
        event = json.load(answer)["event_id"]
    with urlopen(f"{call}/{event}", timeout=30) as stream:
        assert "guidance_scale must be a number from 0" in stream.read().decode()


def test_direct_posts_do_not_get_past_the_queue(client: Client, url: str):
    """Gradio's own door beside its queue is shut: what comes there runs no model, many at once neither."""
    body = json.dumps({"data": list(GOOD.values())}).encode()

    def post(door: str) -> tuple[int, str]:
        asked = Request(f"{url}gradio_api/{door}/text2img", body, {"content-type": "application/json"})
        try:
            with urlopen(asked, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    doors = ["run", "api"] * 4
    with ThreadPoolExecutor(len(doors)) as pool:
        answers = list(pool.map(post, doors))
    assert all(400 <= status < 500 and "image.png" not in text for status, text in answers), answers
    assert ask(client)[1]["phase"] == "done"


def test_errors_are_told_in_the_callers_language(url: str):
    client = Client(url, verbose=False, headers={"accept-language": "zh-CN"})
    with pytest.raises(AppError, match=r"[\u4e00-\u9fff]"):
        ask(client, steps=0)
    client.close()


def test_nothing_else_is_offered(client: Client):
    offered = list(client.view_api(return_format="dict", print_info=False)["named_endpoints"])
    tabs = ["controlnet", "forward", "img2img", "inpaint", "ip_adapter", "lora", "quant_compare", "text2img"]
    assert sorted(offered) == [f"/{tab}" for tab in tabs]
