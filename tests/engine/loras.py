"""LoRA files for the tiny models, sound and broken: written by hand, byte by byte where a rule is to be broken."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

TO_Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
TO_K = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
Tensors = dict[str, np.ndarray]


def matrices(weight: tuple[int, ...], rank: int = 2, seed: int = 0, size: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """A (r, in, ...) and B (out, r, ...) for a weight."""
    rng = np.random.default_rng([seed, *weight])
    ones = (1,) * (len(weight) - 2)
    down, up = rng.normal(0, size, (rank, *weight[1:])), rng.normal(0, size, (weight[0], rank, *ones))
    return down.astype(np.float32), up.astype(np.float32)


def diffusers_file(
    modules: Mapping[str, Mapping[str, tuple[int, ...]]], rank: int = 2, seed: int = 0, size: float = 0.3
) -> Tensors:
    """The tensors for some modules of a base, as diffusers names them."""
    found = {}
    for part, inside in modules.items():
        for name, weight in inside.items():
            down, up = matrices(weight, rank, seed, size)
            stem = f"{part}.{'' if part == 'unet' else 'text_model.'}{name}"
            found |= {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
    return found


def kohya_file(
    modules: Mapping[str, Mapping[str, tuple[int, ...]]], rank: int = 2, alpha: float = 1.0, size: float = 0.3
) -> Tensors:
    """The same as kohya names them, with alphas."""
    found = {}
    for part, inside in modules.items():
        for name, weight in inside.items():
            down, up = matrices(weight, rank, size=size)
            text = "" if part == "unet" else "text_model_"
            stem = f"{'lora_unet' if part == 'unet' else 'lora_te'}_{text}{name.replace('.', '_')}"
            found |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
            found[f"{stem}.alpha"] = np.array(alpha, np.float32)
    return found


def written(path: Path, tensors: Tensors, metadata: Mapping[str, str] | None = None) -> Path:
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, dict(metadata or {}))
    return path


def raw(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    """A file of this header, as JSON or as bytes, that says it is `length` long."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(shape: list[Any], first: int, last: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


@dataclass(frozen=True)
class Broken:
    """A file that breaks one rule. make: of the tensors of a sound one; told: the error, and what its text names."""

    rule: str
    make: Callable[[Tensors], Tensors | bytes]
    told: str
    metadata: Mapping[str, str] = field(default_factory=dict)


def _with(**changed: Any) -> Callable[[Tensors], Tensors]:
    """One tensor more or another one, by the last word of its name: A, B."""
    return lambda tensors: {**tensors, **{_first(tensors, end): value for end, value in changed.items()}}


def _first(tensors: Tensors, end: str) -> str:
    return next(name for name in tensors if name.endswith(f"lora_{end}.weight"))


def _renamed(old: str, new: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name.replace(old, new): tensor for name, tensor in tensors.items()}


def _changed(end: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, _first(tensors, end): change(tensors[_first(tensors, end)])}


def _spoilt(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(tensor: np.ndarray) -> np.ndarray:
        spoilt = tensor.copy()
        spoilt.flat[-1] = value
        return spoilt

    return change


def _whole(tensors: Tensors) -> bytes:
    from safetensors.numpy import save

    return save(tensors)


def _patched_header(change: Callable[[dict[str, Any]], Any], body: bytes | None = None) -> Callable[[Tensors], bytes]:
    def make(tensors: Tensors) -> bytes:
        data = _whole(tensors)
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        change(header)
        return raw(header, data[8 + length :] if body is None else body)

    return make


def _set(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Another dtype, shape or offsets for the first tensor."""

    def change(header: dict[str, Any]) -> None:
        first = min((name for name in header if name != "__metadata__"), key=lambda n: header[n]["data_offsets"])
        header[first][key] = value

    return change


PAIR = b'"a.lora_A.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
BROKEN = (
    Broken("empty", lambda tensors: b"", "lora_empty"),
    Broken("a zip", lambda tensors: b"PK\x03\x04" + b"\0" * 64, "lora_pickle"),
    Broken("a pickle", lambda tensors: b"\x80\x02}q\x00." + b"\0" * 64, "lora_pickle"),
    Broken("a text", lambda tensors: b"this is no model but a text of some length", "lora_not_safetensors"),
    Broken("no JSON", lambda tensors: raw(b"{nothing to see}"), "lora_not_safetensors"),
    Broken("nested too deep", lambda tensors: raw(b'{"a":' + b"[" * 200_000), "lora_not_safetensors"),
    Broken("header beyond the file", lambda tensors: raw({}, length=5_000), "lora_wrong_length"),
    Broken("header of 2^63 bytes", lambda tensors: raw({}, length=2**63), "lora_header_too_large"),
    Broken("header of 5 MB", lambda tensors: raw(b"{" + b" " * 5_000_000 + b"}"), "lora_header_too_large"),
    Broken("a key twice", lambda tensors: raw(b"{" + PAIR + b"," + PAIR + b"}", b"\0" * 4), "lora_duplicate_key"),
    Broken("a dtype twice", lambda tensors: raw(b'{"a":{"dtype":"F32","dtype":"F16"}}'), "lora_duplicate_key"),
    Broken("no tensors", lambda tensors: raw({"__metadata__": {"format": "pt"}}), "lora_no_tensors"),
    Broken(
        "20,001 tensors",
        lambda tensors: raw({f"{n}": entry([1], n, n) for n in range(20_001)}),
        "lora_too_many_tensors",
    ),
    Broken("an entry of another kind", _patched_header(lambda header: header.update(a=[1])), "lora_bad_entry"),
    Broken("an empty tensor", _patched_header(_set("shape", [0, 4])), "lora_bad_entry"),
    Broken("a negative side", _patched_header(_set("shape", [-2, 4])), "lora_bad_entry"),
    Broken("a side that is no number", _patched_header(_set("shape", ["8", True])), "lora_bad_entry"),
    Broken("three offsets", _patched_header(_set("data_offsets", [0, 1, 2])), "lora_bad_entry"),
    Broken("whole numbers", _changed("A", lambda tensor: tensor.astype(np.int32)), "lora_dtype"),
    Broken("eight bits", _patched_header(_set("dtype", "F8_E4M3")), "lora_dtype"),
    Broken("overlapping tensors", _patched_header(_set("data_offsets", [4, 8])), "lora_bad_offsets"),
    Broken("a shape that overflows", _patched_header(_set("shape", [2**62, 2**62])), "lora_bad_offsets"),
    Broken("cut off", lambda tensors: _whole(tensors)[:-10], "lora_wrong_length"),
    Broken("bytes behind the end", lambda tensors: _whole(tensors) + b"more", "lora_wrong_length"),
    Broken("LoHa", lambda tensors: {"lora_unet_mid.hada_w1_a": np.ones((2, 2), np.float32)}, "lora_algorithm"),
    Broken("LoKr", lambda tensors: {"lora_unet_mid.lokr_w1": np.ones((2, 2), np.float32)}, "lora_algorithm"),
    Broken("OFT", lambda tensors: {"lora_unet_mid.oft_blocks": np.ones((2, 2), np.float32)}, "lora_algorithm"),
    Broken("Tucker", lambda tensors: {"lora_unet_a.lora_mid.weight": np.ones((2, 2), np.float32)}, "lora_algorithm"),
    Broken("DoRA", lambda tensors: {**tensors, "unet.a.dora_scale": np.ones(2, np.float32)}, "lora_algorithm"),
    Broken(
        "DoRA by its metadata",
        lambda tensors: tensors,
        "lora_algorithm",
        {"lora_adapter_metadata": json.dumps({"unet.use_dora": True})},
    ),
    Broken("a checkpoint", lambda tensors: {"model.diffusion_model.a.weight": np.ones((2, 2))}, "lora_no_keys"),
    Broken("a strange key", lambda tensors: {**tensors, "unet.a.__class__": np.ones(2)}, "lora_unknown_key"),
    Broken(
        "two layouts",
        lambda tensors: {**tensors, "lora_unet_conv_in.lora_down.weight": np.ones((2, 4, 3, 3))},
        "lora_mixed_layouts",
    ),
    Broken(
        "A without B",
        lambda tensors: {name: one for name, one in tensors.items() if name != _first(tensors, "B")},
        "lora_half_pair",
    ),
    Broken(
        "B without A",
        lambda tensors: {name: one for name, one in tensors.items() if name != _first(tensors, "A")},
        "lora_half_pair",
    ),
    Broken("two ranks", _changed("A", lambda tensor: np.concatenate([tensor, tensor])), "lora_rank_differs"),
    Broken("matrices of one row", _changed("A", lambda tensor: tensor[0]), "lora_rank_differs"),
    Broken(
        "rank 20,000",
        lambda tensors: {
            _first(tensors, "A"): np.zeros((20_000, 1), np.float16),
            _first(tensors, "B"): np.zeros((1, 20_000), np.float16),
        },
        "lora_rank",
    ),
    Broken("an alpha of many numbers", lambda tensors: {**tensors, f"unet.{TO_Q}.alpha": np.ones(3)}, "lora_alpha"),
    Broken("an endless alpha", lambda tensors: {**tensors, f"unet.{TO_Q}.alpha": np.array(np.inf)}, "lora_not_finite"),
    Broken(
        "an alpha that is no number",
        lambda tensors: tensors,
        "lora_alpha",
        {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": "much"})},
    ),
    Broken(
        "an endless alpha in the metadata",
        lambda tensors: tensors,
        "lora_alpha",
        {"lora_adapter_metadata": '{"unet.lora_alpha": Infinity}'},
    ),
    Broken("a module that is not there", _renamed("down_blocks.0", "down_blocks.7"), "lora_unknown_module"),
    Broken("a method for a module", _renamed(TO_Q, "__init__.__globals__"), "lora_unknown_module"),
    Broken("one that fits in half", _renamed(TO_K, TO_K.replace("attn2", "attn9")), "lora_unknown_module"),
    Broken(
        "another width",
        _changed("A", lambda tensor: np.zeros((2, 768), np.float32)),
        "lora_other_shape",
    ),
    Broken("not a number", _changed("B", _spoilt(np.nan)), "lora_not_finite"),
    Broken("infinity", _changed("A", _spoilt(np.inf)), "lora_not_finite"),
    Broken("1e30", _changed("B", _spoilt(1e30)), "lora_weight_too_large"),
)


def break_file(broken: Broken, path: Path, sound: Tensors) -> Path:
    """Write a file that breaks a rule."""
    made = broken.make(dict(sound))
    if isinstance(made, bytes):
        path.write_bytes(made)
        return path
    return written(path, made, broken.metadata)
