"""Embeddings that are kept: encoded once, told apart, and the longest unused one forgotten."""

import torch

from studio.engine.prompts import PromptCache


class Encoder:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, text: str) -> dict[str, torch.Tensor]:
        self.asked.append(text)
        return {"prompt_embeds": torch.full((1,), len(self.asked))}


def test_equal_prompts_are_encoded_once() -> None:
    cache, encode = PromptCache(), Encoder()
    first = cache.get("a", lambda: encode("a"))
    assert cache.get("a", lambda: encode("a")) is first
    assert cache.get("b", lambda: encode("b")) is not first
    assert encode.asked == ["a", "b"]


def test_the_longest_unused_one_is_forgotten() -> None:
    cache, encode = PromptCache(most=2), Encoder()
    for text in ("a", "b", "a", "c", "a", "b"):
        cache.get(text, lambda text=text: encode(text))
    assert encode.asked == ["a", "b", "c", "b"]


def test_a_cleared_cache_encodes_anew() -> None:
    cache, encode = PromptCache(), Encoder()
    for _ in range(2):
        cache.get("a", lambda: encode("a"))
        cache.clear()
    assert encode.asked == ["a", "a"]
