"""The shelf takes what passes, keeps it, and tells the truth about it; nothing else ever comes onto it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from studio.engine.loaders import FolderLoader
from studio.engine.lora_shelf import MAX_OWN, LoraShelf
from studio.engine.lora_truth import inert, spectra, triggers_of, truth_of
from studio.errors import InvalidInput, ModelUnavailable
from studio.types import Family

from .loras import TO_K, TO_Q, kohya_file, written

CONV = "down_blocks.0.resnets.0.conv1"
TOLD = {
    "ss_base_model_version": "sd_v1",
    "ss_tag_frequency": '{"10_momo": {"momo": 10, "grass": 3, "a dog": 9}}',
    "ss_training_comment": "<script>alert(1)</script>\x1b[31m\u202e" + "x" * 900,
    "ss_steps": "400",
}


@pytest.fixture
def shelf(families: tuple[Family, ...], load: FolderLoader, tmp_path: Path) -> LoraShelf:
    bases = {spec.id: spec for family in families for spec in family.specs}
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    return LoraShelf({"little_world": shipped}, tmp_path / "own", bases, load.look)


@pytest.fixture
def file(shelf: LoraShelf, tmp_path: Path) -> Path:
    unet = {name: shelf.base("sd15").modules["unet"][name] for name in (TO_Q, TO_K, CONV)}
    return written(tmp_path / "brought" / "My file (1).safetensors", kohya_file({"unet": unet}, alpha=1.0), TOLD)


def test_what_passes_is_kept_and_found_again(shelf: LoraShelf, file: Path):
    assert shelf.items() == ()
    item = shelf.add(file, "C:\\loras\\My file (1).safetensors", "sd15")
    assert (item.name, item.family, item.own) == ("My_file_1", "sd15", True)
    assert item.path.read_bytes() == file.read_bytes() and item.path != file
    assert item.triggers == ("momo", "a dog")
    assert shelf.items() == (item,) and set(shelf.usable("sd15")) == {"My_file_1"}
    assert shelf.usable("little_world") == {}
    assert [spec.kind for spec in shelf.specs()] == ["lora"]


def test_the_same_file_again_is_the_same_and_another_of_its_name_is_refused(shelf: LoraShelf, file: Path):
    item = shelf.add(file, "momo.safetensors", "sd15")
    assert shelf.add(file, "momo.safetensors", "sd15") == item
    other = written(
        file.with_name("b.safetensors"), {name: np.asarray(2 * one) for name, one in _tensors(file).items()}
    )
    with pytest.raises(InvalidInput, match="Rename"):
        shelf.add(other, "momo.safetensors", "sd15")
    assert item.path.read_bytes() == file.read_bytes()


def test_another_file_under_a_name_is_another_model(shelf: LoraShelf, file: Path):
    item = shelf.add(file, "momo.safetensors", "sd15")
    written(item.path, {name: np.asarray(2 * one) for name, one in _tensors(file).items()})
    (changed,) = shelf.items()
    assert changed.spec is not None and item.spec is not None
    assert changed.name == item.name and changed.spec.id != item.spec.id


def test_a_broken_file_leaves_nothing_behind(shelf: LoraShelf, file: Path, tmp_path: Path):
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ModelUnavailable):
        shelf.add(file, "momo.safetensors", "sd15")
    assert shelf.items() == () and not list((tmp_path / "own").rglob("*"))


def test_a_broken_file_that_was_put_there_by_hand_says_why_it_cannot_be_used(shelf: LoraShelf, file: Path):
    item = shelf.add(file, "momo.safetensors", "sd15")
    item.path.write_bytes(b"PK\x03\x04" + b"\0" * 20)
    bad_name = item.path.with_name("a<b>.safetensors")
    bad_name.write_bytes(file.read_bytes())
    found = {one.name: one for one in shelf.items()}
    assert {name: one.problem.key for name, one in found.items() if one.problem} == {
        "momo": "lora_pickle",
        "a<b>": "lora_name",
    }
    assert shelf.usable() == {} and shelf.specs() == ()


def test_the_shelf_has_an_end(shelf: LoraShelf, file: Path):
    first = shelf.add(file, "0.safetensors", "sd15")
    for number in range(1, MAX_OWN):
        first.path.with_name(f"{number}.safetensors").write_bytes(b"")
    with pytest.raises(InvalidInput, match=str(MAX_OWN)):
        shelf.add(file, "one-more.safetensors", "sd15")


def test_an_unknown_base_or_name_is_refused(shelf: LoraShelf, file: Path):
    with pytest.raises(InvalidInput, match="base_id"):
        shelf.add(file, "momo.safetensors", "nothing")
    with pytest.raises(InvalidInput, match="nobody"):
        shelf.truth("nobody")


def test_the_truth_is_what_the_tensors_say(shelf: LoraShelf, file: Path):
    passed = shelf.gate.passed(file, "momo", "sd15")
    truth = truth_of(passed)
    assert (truth.layout, truth.ranks, truth.alphas) == ("kohya", (2,), (1.0,))
    unet, text = truth.parts[0] if truth.parts[0].part == "unet" else truth.parts[1], truth.parts[0]
    assert (unet.tensors, unet.changed, unet.weights) == (9, 3, len(passed.base.modules["unet"]))
    assert {one.part: one.changed for one in truth.parts}["text_encoder"] == 0 and text.weights
    assert [key for key, _ in truth.evidence] == ["shapes", "text_width", "claim"]
    assert truth.claims["base"] == "sd_v1" and truth.claims["steps"] == "400"
    assert len(truth.claims["comment"]) == 200 and "\x1b" not in truth.claims["comment"]


def test_the_norm_of_a_block_is_that_of_its_whole_change(shelf: LoraShelf, file: Path):
    passed = shelf.gate.passed(file, "momo", "sd15")
    tensors = _tensors(file)
    change = weight = 0.0
    for part, module, own in passed.base.tensors():
        if part == "unet" and module in (TO_Q, TO_K, CONV):
            stem = f"lora_unet_{module.replace('.', '_')}"
            down, up = (
                torch.tensor(tensors[f"{stem}.lora_{name}.weight"]).flatten(1).double() for name in ("down", "up")
            )
            change += float((0.5 * up @ down).square().sum())  # alpha 1, rank 2
            weight += float(own.double().square().sum())
    assert truth_of(passed).norms == {"down_blocks.0": pytest.approx((change / weight) ** 0.5, rel=1e-4)}


def test_singular_values_are_those_of_the_whole_change(shelf: LoraShelf, file: Path):
    tensors, found = _tensors(file), spectra(shelf.gate.passed(file, "momo", "sd15"))
    assert set(found) == {f"unet.{name}" for name in (TO_Q, TO_K, CONV)}
    stem = f"lora_unet_{CONV.replace('.', '_')}"
    down, up = (
        tensors[f"{stem}.lora_{name}.weight"].reshape(len(tensors[f"{stem}.lora_{name}.weight"]), -1)
        for name in ("down", "up")
    )
    expected = np.linalg.svd(0.5 * up @ down, compute_uv=False)[:2]
    np.testing.assert_allclose(found[f"unet.{CONV}"], expected, rtol=1e-4)


def test_words_that_call_it_are_named_or_counted():
    assert triggers_of({"trigger": "Momo, the fox"}) == ("Momo", "the fox")
    assert triggers_of({"ss_tag_frequency": "[1]"}) == triggers_of({}) == ()
    assert triggers_of({"ss_tag_frequency": '{"a": {"x": "many", "y": true}, "b": 3}'}) == ()
    assert inert("a\u202eb\n<b>c\x00") == "a b <b>c"


def _tensors(file: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(file)
