"""The tokenizer of the little world: byte-level BPE with a full byte alphabet; each Han character stands alone.

Any text can be encoded, so that no prompt contains an inner end-of-text; the merges come from the world's captions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from studio.world import lexicon
from studio.world.caption import caption
from studio.world.scene import Scene

if TYPE_CHECKING:
    from studio.train.run import Run

START, END = "<|startoftext|>", "<|endoftext|>"
VOCABULARY, MAX_TOKENS = 1_024, 64


def corpus(count: int, seed: int) -> Iterator[str]:
    """Captions in both languages, and every name of the lexicon, so that reserved concepts have tokens to learn on."""
    for table in (lexicon.KIND_NAMES, lexicon.STYLE_NAMES, lexicon.CHARACTER_NAMES, lexicon.BACKGROUND_PHRASES):
        for language in lexicon.LANGUAGES:
            for names in table[language].values():
                yield from names * 20
    rng = np.random.default_rng(seed)
    for _ in range(count):
        scene = Scene.sample(rng)
        for language in lexicon.LANGUAGES:
            yield caption(scene, rng, language)


def build_tokenizer(captions: int = 8_000, seed: int = 0) -> PreTrainedTokenizerFast:
    """Train the merges; the same arguments give the same tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(captions, seed), trainer)
    start, end = tokenizer.token_to_id(START), tokenizer.token_to_id(END)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, start), (END, end)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        model_max_length=MAX_TOKENS,
        split_special_tokens=True,  # "<|endoftext|>" typed by a person is text, not the end
    )


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> np.ndarray:
    """(len(texts), MAX_TOKENS) int64, padded and cut as the pipelines do."""
    batch = tokenizer(texts, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="np")
    return np.asarray(batch["input_ids"], np.int64)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(folder)


def shared_tokenizer(run: Run, base: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a folder; the first process builds it where it is missing."""
    if run.rank == 0 and not (base / "tokenizer").exists():
        build_tokenizer().save_pretrained(base / "tokenizer")
    run.barrier()
    return load_tokenizer(base / "tokenizer")
