"""Both languages say the same things, and the code asks for no sentence that is not there."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.settings import ROOT
from studio.text import LANGUAGES, t, table

ERRORS = {"StudioError", "InvalidInput", "ModelUnavailable", "GenerationFailed"}
KEY_POSITION = {"t": 0, "label": 0, "Finding": 1}
"""Which argument of a call is a key."""


def places(sentence: str) -> list[str]:
    """The names of the {places} of a sentence, sorted."""
    return sorted(name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None)


def patterns(argument: ast.expr) -> Iterator[str]:
    """Regular expressions of the keys that an argument may be; nothing for one that only a run can tell."""
    match argument:
        case ast.Constant(value=str(key)):
            yield re.escape(key)
        case ast.IfExp(body=body, orelse=orelse):
            yield from patterns(body)
            yield from patterns(orelse)
        case ast.JoinedStr(values=parts) if isinstance(parts[0], ast.Constant):
            yield "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+" for part in parts)


def asked_for(source: str) -> Iterator[str]:
    """Patterns of the keys that a module's source asks for, as errors or as texts."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ERRORS:
            yield from (rf"error\.{pattern}" for pattern in patterns(node.args[0]))
        elif name in KEY_POSITION and len(node.args) > KEY_POSITION[name]:
            yield from patterns(node.args[KEY_POSITION[name]])


def unknown_keys(source: str, keys: set[str]) -> list[str]:
    """The patterns that a source asks for and no key fits."""
    return [pattern for pattern in asked_for(source) if not any(re.fullmatch(pattern, key) for key in keys)]


def test_both_languages_have_the_same_keys():
    assert set(table("en")) == set(table("zh"))


def test_both_languages_name_the_same_places():
    differing = [key for key, sentence in table("en").items() if places(sentence) != places(table("zh").get(key, ""))]
    assert differing == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_sentence_is_empty(language: str):
    assert [key for key, sentence in table(language).items() if not sentence.strip()] == []


@pytest.mark.parametrize("path", sorted((ROOT / "studio").rglob("*.py")), ids=lambda path: path.stem)
def test_every_key_that_the_code_asks_for_exists(path: Path):
    assert unknown_keys(path.read_text(encoding="utf-8"), set(table("en"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "raise StudioError('missing', field=1)",
        "errors.InvalidInput('known' if x else 'missing')",
        "t('missing.key', language)",
        "text.t(f'missing.{name}')",
        "Finding(True, 'missing')",
    ],
)
def test_a_planted_unknown_key_is_found(source: str):
    assert len(unknown_keys(source, {"error.known", "known.key"})) == 1


def test_a_known_key_is_not_reported():
    source = "InvalidInput('known' if x else f'known_{y}'); t(key); t('known.key'); t(f'known.{name}')"
    assert unknown_keys(source, {"error.known", "error.known_too", "known.key"}) == []


def test_an_unknown_language_reads_english():
    assert t("doctor.healthy", "fr") == t("doctor.healthy", "en")


def test_a_persons_text_is_not_taken_for_a_place():
    assert "{seed}" in t("error.not_a_choice", field="model", choices="a, b", value="{seed}")
