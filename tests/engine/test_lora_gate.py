"""The gate: a broken file per rule is refused at once and says why; what passes is known exactly."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from studio.diffusion.lora_keys import read_key
from studio.diffusion.lora_origins import likely_family
from studio.engine.loaders import FolderLoader
from studio.engine.lora_base import BaseWeights, base_weights
from studio.engine.lora_file import hashes_of
from studio.engine.lora_gate import LoraGate, pass_gate
from studio.errors import ModelUnavailable
from studio.text import table
from studio.types import Family, ModelSpec
from tests.tiny_adapters import make_lora

from .loras import BROKEN, TO_K, TO_Q, Broken, Tensors, break_file, diffusers_file, kohya_file, written

CONV = "down_blocks.0.resnets.0.conv1"
ENCODER = "encoder.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def spec(families: tuple[Family, ...]) -> ModelSpec:
    return next(one for family in families for one in family.specs if one.id == "sd15")


@pytest.fixture(scope="module")
def base(spec: ModelSpec, load: FolderLoader) -> BaseWeights:
    return base_weights(spec, load.look)


@pytest.fixture(scope="module")
def sound(base: BaseWeights) -> Tensors:
    unet = {name: base.modules["unet"][name] for name in (TO_Q, TO_K, CONV)}
    return diffusers_file({"unet": unet, "text_encoder": {ENCODER: base.modules["text_encoder"][ENCODER]}})


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.rule)
def test_a_broken_file_is_refused_at_once_and_says_why(
    broken: Broken, base: BaseWeights, sound: Tensors, tmp_path: Path
):
    path = break_file(broken, tmp_path / "broken.safetensors", sound)
    started = time.perf_counter()
    with pytest.raises(ModelUnavailable) as refused:
        pass_gate(path, "broken", base)
    assert time.perf_counter() - started < 1
    assert refused.value.key == broken.told
    for language in ("en", "zh"):
        assert "broken" in refused.value.message(language) and "{" not in refused.value.message(language)


def test_every_rule_of_the_gate_has_a_broken_file():
    rules = set()
    for name in ("lora_file", "lora_gate"):
        source = Path(__file__).parents[2] / "studio" / "engine" / f"{name}.py"
        rules |= set(re.findall(r'"(lora_[a-z_]+)"', source.read_text(encoding="utf-8")))
    rules = {rule for rule in rules if f"error.{rule}" in table("en")}
    untried = rules - {broken.told for broken in BROKEN}
    assert untried == {"lora_file_too_large"}  # tried below, without a file of 500 MB
    assert len(rules) >= 20


def test_a_file_that_is_too_large_is_refused_before_it_is_read(base: BaseWeights, tmp_path: Path):
    path = tmp_path / "large.safetensors"
    with path.open("wb") as file:
        file.truncate(500_000_001)  # a hole: takes no room
    with pytest.raises(ModelUnavailable, match="501 MB"):
        pass_gate(path, "large", base)


def test_a_refusal_names_the_likely_base_and_the_first_key(base: BaseWeights, tmp_path: Path):
    of_sdxl = {"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": np.ones((2, 4), np.float32)}
    of_sdxl |= {"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": np.ones((4, 2), np.float32)}
    with pytest.raises(ModelUnavailable, match=r"lora_te2_.*Stable Diffusion XL"):
        pass_gate(written(tmp_path / "xl.safetensors", of_sdxl), "xl", base)
    wide = {f"unet.{TO_K}.lora_A.weight": np.ones((2, 768), np.float32)}
    wide |= {f"unet.{TO_K}.lora_B.weight": np.ones((base.modules["unet"][TO_K][0], 2), np.float32)}
    with pytest.raises(ModelUnavailable, match=r"attn2\.to_k.*Stable Diffusion 1\.5"):
        pass_gate(written(tmp_path / "wide.safetensors", wide), "wide", base)


def test_both_layouts_mean_the_same_modules(base: BaseWeights, sound: Tensors, tmp_path: Path):
    unet = {name: base.modules["unet"][name] for name in (TO_Q, TO_K, CONV)}
    parts = {"unet": unet, "text_encoder": {ENCODER: base.modules["text_encoder"][ENCODER]}}
    first = pass_gate(written(tmp_path / "a.safetensors", sound), "a", base)
    second = pass_gate(written(tmp_path / "b.safetensors", kohya_file(parts)), "b", base)
    assert (first.layout, second.layout) == ("diffusers", "kohya")
    targets = [(pair.part, pair.module) for pair in first.pairs]
    assert targets == [(pair.part, pair.module) for pair in second.pairs]
    assert set(targets) == {(part, module) for part, inside in parts.items() for module in inside}
    assert set(first.scalings) == {1.0} and set(second.scalings) == {0.5}  # alpha is the rank, or 1 of 2


def test_a_header_as_long_as_a_pickle_begins_is_none(base: BaseWeights, sound: Tensors, tmp_path: Path):
    path = tmp_path / "lora.safetensors"
    for padding in range(300, 3_000):
        start = written(path, sound, {"padding": "x" * padding}).read_bytes()[:2]
        if start[:1] == b"\x80" and start[1] in (2, 3, 4, 5):
            assert pass_gate(path, "lora", base).layout == "diffusers"
            return
    pytest.fail("no header of such a length was made")


def test_what_diffusers_saves_passes(base: BaseWeights, models_root: Path, tmp_path: Path):
    passed = pass_gate(make_lora(tmp_path / "lora.safetensors", models_root / "sd15"), "lora", base)
    assert passed.layout == "diffusers" and set(passed.scalings) == {1.0}
    assert 2 * len(passed.pairs) == len(passed.file.shapes)


@pytest.mark.parametrize(
    ("name", "module", "role"),
    [
        (f"unet.{TO_Q}.lora.down.weight", TO_Q, "down"),
        (f"unet.{TO_Q}.lora_A.default.weight", TO_Q, "down"),
        ("unet.mid_block.attn1.processor.to_out_lora.up.weight", "mid_block.attn1.to_out.0", "up"),
        ("text_encoder.text_model.encoder.a.lora_linear_layer.up.weight", "text_model.encoder.a", "up"),
        ("lora_unet_conv_in.alpha", "conv_in", "alpha"),
    ],
)  # fmt: skip
def test_older_names_are_read_too(name: str, module: str, role: str):
    key = read_key(name)
    assert key is not None and (key.module, key.role) == (module, role)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("lora_unet_double_blocks_0_img.lora_down.weight", "flux"),
        ("transformer.transformer_blocks.0.attn.lora_A.weight", "sd3"),
        ("lora_unet_input_blocks_4_1.lora_down.weight", "sdxl"),
        ("unet.conv_in.lora_A.weight", ""),
    ],
)
def test_the_family_is_judged_by_the_names(name: str, family: str):
    assert likely_family({name: (2, 5)}) == family


def test_the_gate_reads_a_file_once_and_again_when_it_changes(base: BaseWeights, sound: Tensors, tmp_path: Path):
    asked: list[str] = []
    gate = LoraGate(lambda family: asked.append(family) or base)  # type: ignore[func-returns-value]
    path = written(tmp_path / "lora.safetensors", sound)
    spec = replace(base.spec, id="x", kind="lora")
    gate(spec, path)
    gate(spec, path)
    assert asked == [spec.family]
    written(path, {f"unet.{TO_Q}.lora_A.weight": sound[f"unet.{TO_Q}.lora_A.weight"]})
    with pytest.raises(ModelUnavailable):
        gate(spec, path)


def test_hashes_are_those_that_others_write(sound: Tensors, tmp_path: Path):
    import hashlib

    first, second = (written(tmp_path / f"{name}.safetensors", sound, {"title": name}) for name in ("one", "another"))
    told, other = hashes_of(first), hashes_of(second)
    assert told.sha256 == hashlib.sha256(first.read_bytes()).hexdigest() and told.autov2 == told.sha256[:10]
    header = int.from_bytes(first.read_bytes()[:8], "little")
    assert told.autov3 == hashlib.sha256(first.read_bytes()[8 + header :]).hexdigest()[:12]
    assert other.autov3 == told.autov3 and other.autov2 != told.autov2
