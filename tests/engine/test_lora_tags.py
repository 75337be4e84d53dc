"""`<lora:name:weight>` is read as its relatives read it, and comes back as it went."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.engine.infotext import texts
from studio.engine.lora_tags import Tag, model_id, split_tags, tag_of, tagged, with_loras
from studio.engine.parameters import parse
from studio.errors import InvalidInput
from studio.types import ControlUse, GenerationRequest, ModelSpec

DIGITS = "0123456789abcdef"
MOMO = ModelSpec(model_id("momo", DIGITS), "lora", "little_world", (), title="momo")
ROCKET = ModelSpec(model_id("red-rocket", DIGITS[::-1]), "lora", "little_world", (), title="red-rocket")
SPECS = {spec.id: spec for spec in (MOMO, ROCKET)}
REQUEST = GenerationRequest("little-world", "a cat", 1)


@pytest.mark.parametrize(
    ("text", "unet", "text_encoder", "further"),
    [
        ("<lora:momo>", 1.0, 1.0, {}),
        ("<lora:momo:0.8>", 0.8, 0.8, {}),
        ("<LoRA: momo : 0.8 >", 0.8, 0.8, {}),
        ("<lora:momo:0.5:0.8>", 0.8, 0.5, {}),
        ("<lora:momo:1:0>", 0.0, 1.0, {}),
        ("<lora:momo:te=0.5:unet=0.8>", 0.8, 0.5, {}),
        ("<lora:momo:unet=0.5>", 0.5, 0.5, {}),
        ("<lora:momo:1:rank=4:up_blocks.1=0.5>", 1.0, 1.0, {"rank": 4, "up_blocks.1": 0.5}),
    ],
)
def test_a_tag_is_read(text: str, unet: float, text_encoder: float, further: dict[str, Any]):
    prompt, (tag,) = split_tags(f"a cat {text} in a room")
    assert prompt == "a cat in a room" and tag.name == "momo"
    assert tag.scale * tag.options.get("unet", 1.0) == pytest.approx(unet)
    assert tag.scale * tag.options.get("text_encoder", 1.0) == pytest.approx(text_encoder)
    assert {name: value for name, value in tag.options.items() if name not in ("unet", "text_encoder")} == further


@pytest.mark.parametrize(
    "text", ["<lora::1>", "<lora:momo:much>", "<lora:momo:1:2:3>", "<lora:momo:te=1:te=2>", "<lora:momo:nan>",
             "<lora:momo:-1>", "<lora:momo:inf>", "<lora:momo:te=>"],
)  # fmt: skip
def test_a_tag_that_cannot_be_read_is_named(text: str):
    with pytest.raises(InvalidInput) as refused:
        split_tags(text)
    assert refused.value.key == "bad_lora_tag" and refused.value.values["field"] == "prompt"


@pytest.mark.parametrize("prompt", ["", "a < b > c", "a cat  with  room", "<lyco:momo:1>", "<lora>", "lora:momo:1"])
def test_a_prompt_without_tags_stays_as_it_is(prompt: str):
    assert split_tags(prompt) == (prompt, [])


@given(
    st.floats(0, 2).map(lambda value: round(value, 3)),
    st.floats(0, 2).map(lambda value: round(value, 3)),
    st.dictionaries(st.sampled_from(["mid_block", "up_blocks.0"]), st.sampled_from([0.0, 0.25, 1.5])),
)
def test_what_is_written_is_read_again(of_text: float, of_unet: float, blocks: dict[str, float]):
    further = "".join(f":{name}={value}" for name, value in blocks.items())
    _, (tag,) = split_tags(f"<lora:momo:te={of_text}:unet={of_unet}{further}>")
    _, (again,) = split_tags(str(tag))
    assert again.scale == pytest.approx(tag.scale) and again.options == pytest.approx(dict(tag.options))


def test_tags_become_controls_behind_those_that_are_there():
    other = ControlUse("depth", "net")
    wish = replace(REQUEST, prompt="<lora:momo:0.5>a cat<lora:red-rocket>", controls=(other,))
    made = with_loras(wish, SPECS)
    assert made.prompt == "a cat"
    assert made.controls == (other, ControlUse("lora", MOMO.id, scale=0.5), ControlUse("lora", ROCKET.id))
    assert with_loras(made, SPECS) is made


@pytest.mark.parametrize(
    ("prompt", "key"), [("<lora:nobody>", "no_such_lora"), ("<lora:momo><lora:momo:0.2>", "lora_twice")]
)
def test_a_lora_that_is_not_there_or_twice_is_refused(prompt: str, key: str):
    with pytest.raises(InvalidInput) as refused:
        with_loras(replace(REQUEST, prompt=prompt), SPECS)
    assert refused.value.key == key


def test_a_picture_says_it_as_others_do():
    request = with_loras(replace(REQUEST, prompt="a cat <lora:red-rocket:0.8> <lora:momo:0.5:1>"), SPECS)
    parsed = parse(texts(request, "")["parameters"])
    assert parsed.prompt == "a cat <lora:red-rocket:0.8> <lora:momo:te=0.5:unet=1>"
    assert parsed.settings["Lora hashes"] == "red-rocket: fedcba987654, momo: 0123456789ab"


def test_a_record_comes_back_as_tags_and_other_controls():
    other, own = ControlUse("depth", "net"), ControlUse("lora", MOMO.id, scale=0.5)
    assert tagged({"prompt": "a cat", "controls": (other, own)}) == {
        "prompt": "a cat <lora:momo:0.5>",
        "controls": (other,),
    }
    assert tagged({"prompt": "a cat", "controls": (own,)}) == {"prompt": "a cat <lora:momo:0.5>"}
    assert tagged({"prompt": "a cat"}) == {"prompt": "a cat"}
    assert tag_of(own) == Tag("momo", 0.5, {})
