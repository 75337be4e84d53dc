"""AUTOMATIC1111's `parameters` text, which most programs that draw with diffusion models write and read.

    <prompt, may span lines>
    Negative prompt: <may span lines; absent when empty>
    Steps: 20, Sampler: Euler, CFG scale: 7, ...              the last line, at least three pairs

Texts come from strangers' files: every function here takes time linear in the length of its text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from studio.types import Scheduler

SAMPLER_NAMES: Mapping[Scheduler, str] = {
    Scheduler.DPMPP_2M: "DPM++ 2M",
    Scheduler.DDIM: "DDIM",
    Scheduler.EULER: "Euler",
    Scheduler.UNIPC: "UniPC",
}
# A name that ends like another one stands before it.
SCHEDULE_NAMES = ("Karras", "Exponential", "SGM Uniform", "SGMUniform", "Uniform", "Simple", "Normal", "Automatic")

NEGATIVE_PROMPT = "Negative prompt:"
MIN_PAIRS = 3
"""A last line with fewer belongs to the prompt."""
# Possessive, and a key begins only after a sign that no key holds: nothing is looked through twice.
PAIR = re.compile(
    r"""(?:^|[,:])\s*+
    (\w[\w\ \-/]++):\s*+
    ("[^"\\]*+(?:\\.[^"\\]*+)*+"(?=,|\Z)|[^,]*+)""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Parameters:
    """A `parameters` text taken apart. settings: the pairs of its last line as they stand there."""

    prompt: str
    negative_prompt: str
    settings: Mapping[str, str]


def compose(prompt: str, negative_prompt: str, settings: Mapping[str, object]) -> str:
    """The text of these parts. A setting that is None is left out, as is an empty negative prompt."""
    pairs = [f"{key}: {_quoted(str(value))}" for key, value in settings.items() if value is not None]
    lines = [prompt, f"{NEGATIVE_PROMPT} {negative_prompt}"] if negative_prompt else [prompt]
    return "\n".join([*lines, ", ".join(pairs)]).strip()


def parse(text: str) -> Parameters:
    """The parts of a text; without a line of settings all of it is prompt."""
    *lines, last = text.strip().split("\n")
    settings = _pairs(last)
    if len(settings) < MIN_PAIRS:
        lines, settings = [*lines, last], {}
    prompt: list[str] = []
    negative: list[str] = []
    part = prompt
    for line in map(str.strip, lines):
        if line.startswith(NEGATIVE_PROMPT):
            part, line = negative, line.removeprefix(NEGATIVE_PROMPT).strip()
        part.append(line)
    return Parameters("\n".join(prompt).strip(), "\n".join(negative).strip(), settings)


def split_sampler(name: str) -> tuple[str, str]:
    """Sampler and schedule of a name that holds both, as older files have it: "DPM++ 2M Karras"."""
    for schedule in SCHEDULE_NAMES:
        if name.lower().endswith(f" {schedule.lower()}"):
            return name[: -len(schedule)].strip(), schedule
    return name, ""


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if any(sign in value for sign in ",:\n") else value


def _unquoted(value: str) -> str:
    """What stands in the quotes, if there are any; the value as it is where they are not JSON's."""
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value


def _pairs(line: str) -> dict[str, str]:
    """The `key: value` pairs of a line; what is no pair is passed over."""
    pairs = {key.strip(): _unquoted(value.strip()) for key, value in PAIR.findall(line)}
    return {key: value for key, value in pairs.items() if value}
