"""The directions of dependency and the sizes that keep the house readable, held by reading the sources."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from studio.settings import ROOT

MAX_FILE_LINES, MAX_FUNCTION_LINES = 300, 60

WORDS = {"types", "events", "errors", "text", "lineage", "construction"}
"""The shared words: they use the standard library alone, and every room but `diffusion` may use them."""

MAY_IMPORT: dict[str, set[str]] = {
    "text": set(),
    "errors": {"text"},
    "types": {"errors"},
    "events": {"types"},
    "lineage": {"errors"},
    "construction": set(),
    "environment": set(),
    "settings": WORDS,
    "diffusion": set(),
    "world": WORDS,
    "perception": WORDS | {"world"},
    "detectors": WORDS | {"world", "perception"},
    "engine": WORDS | {"diffusion"},
    "catalog": WORDS,
    "controls": WORDS | {"diffusion"},
    "quant": WORDS | {"diffusion", "engine"},  # its OpenVINO networks are converted and cut as the engine's own are
    "checks": WORDS | {"diffusion"},
    "train": WORDS | {"diffusion", "world", "perception"},
    "ui": WORDS | {"engine", "settings", "world"},
    "tabs": WORDS | {"ui", "engine", "settings", "diffusion", "checks", "world", "perception", "detectors", "train"},
    "build": WORDS
    | {"settings", "engine", "catalog", "controls", "detectors", "quant", "checks", "perception", "ui", "tabs"},
    "evaluate": WORDS
    | {"settings", "build", "engine", "catalog", "checks", "diffusion", "quant", "world", "perception"},
    "bench": WORDS
    | {"environment", "settings", "build", "engine", "catalog", "checks", "diffusion", "quant", "world", "perception"}
    | {"evaluate"},
    "doctor": WORDS | {"settings", "catalog", "engine"},
    "steer": WORDS | {"engine"},
    "draw": WORDS | {"settings", "steer", "build", "engine"},
    "fetch": WORDS | {"settings", "build", "engine"},
    "__main__": WORDS | {"environment", "settings", "steer", "draw", "fetch", "doctor", "train", "evaluate", "bench"},
}
STANDARD_LIBRARY_ONLY = WORDS | {"environment", "settings", "doctor"}
PAGE = {"gradio", "modelscope_studio"}
PAGE_ROOMS = {"build", "ui", "tabs"}
NAME_ANY_TYPE = {"ui", "tabs"}
"""They are handed what `build` has put together: for the type checker they may say what it is."""
HEAVY = {"diffusers", "transformers", "peft"}
HEAVY_UNDER_THE_LOCK = {"engine", "catalog", "controls", "detectors", "quant"}
"""The server's threads: two that import one of them at once may find it half made."""
HEAVY_ROOMS = {"train", "evaluate", "bench"}


@dataclass(frozen=True)
class Import:
    """One imported name. lazy: inside a function or for the type checker; typing: for the type checker alone."""

    module: str
    line: int
    lazy: bool
    typing: bool

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    @property
    def room(self) -> str:
        """The room of an import from the studio."""
        return [*self.module.split("."), ""][1]


def imports(node: ast.AST, lazy: bool = False, typing: bool = False) -> Iterator[Import]:
    """All imports below a node, with `from studio import x` read as `studio.x`."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import(names=names):
                yield from (Import(name.name, child.lineno, lazy, typing) for name in names)
            case ast.ImportFrom(module=str(module), names=names):
                whole = [f"{module}.{name.name}" for name in names] if module == "studio" else [module]
                yield from (Import(name, child.lineno, lazy, typing) for name in whole)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from imports(child, True, typing)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from imports(child, True, True)
            case _:
                yield from imports(child, lazy, typing)


def room_of(name: str) -> str:
    """The room of a file: studio/engine/jobs.py is in `engine`, studio/types.py in `types`."""
    return name.removeprefix("studio/").partition("/")[0].removesuffix(".py")


def wrong_imports(name: str, source: str) -> list[str]:
    """What a file of the studio imports and its room may not."""
    room = room_of(name)
    found = [(one, _complaint(room, one)) for one in imports(ast.parse(source))]
    return [f"{name}:{one.line}: {room} {complaint} {one.module}" for one, complaint in found if complaint]


def _complaint(room: str, one: Import) -> str | None:
    """Why a room may not import this, or None."""
    if one.package == "studio":
        allowed = one.room == room or one.room in MAY_IMPORT[room] or (one.typing and room in NAME_ANY_TYPE)
        return None if allowed else "may not import"
    if room in STANDARD_LIBRARY_ONLY and one.package not in sys.stdlib_module_names and not one.lazy:
        return "uses the standard library only, not"
    if room == "world" and one.package == "torch":
        return "is free of"
    if one.package in PAGE and room not in PAGE_ROOMS:
        return "knows no page, so no"
    if one.package in HEAVY and room in HEAVY_UNDER_THE_LOCK and not one.typing:
        return "imports by `studio.construction.imported`"
    if one.package in HEAVY and room not in HEAVY_ROOMS | HEAVY_UNDER_THE_LOCK:
        return "runs no model, so no"
    return None


def too_long(name: str, source: str) -> list[str]:
    """Files and functions beyond the hard limits."""
    found = [f"{name}: {lines} lines"] if (lines := len(source.splitlines())) > MAX_FILE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            lines = node.end_lineno - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                found.append(f"{name}:{node.lineno}: {node.name} has {lines} lines")
    return found


def sources(*folders: str) -> list[Path]:
    """The Python files below folders of the project."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    "path", [path for path in sources("studio") if room_of(name_of(path)) != "__init__"], ids=name_of
)
def test_a_file_imports_only_what_its_room_may(path: Path):
    assert room_of(name_of(path)) in MAY_IMPORT, "a new room: write into MAY_IMPORT what it may use"
    assert wrong_imports(name_of(path), path.read_text(encoding="utf-8")) == []


def test_files_and_functions_stay_short():
    paths = [*sources("studio", "tests"), *ROOT.glob("*.py")]
    assert [line for path in paths for line in too_long(name_of(path), path.read_text(encoding="utf-8"))] == []


def test_nothing_is_called_utils():
    assert [name_of(path) for path in sources("studio", "tests") if path.stem in ("utils", "util", "helpers")] == []


def test_the_models_folder_holds_no_python():
    assert [name_of(path) for path in sources("models")] == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("studio/engine/jobs.py", "import gradio as gr"),
        ("studio/engine/jobs.py", "def f():\n    from modelscope_studio.components import antd"),
        ("studio/engine/loaders.py", "from diffusers import DDIMScheduler"),
        ("studio/engine/loaders.py", "def f():\n    from diffusers import DDIMScheduler"),
        ("studio/engine/registry.py", "from studio.catalog import little_world"),
        ("studio/engine/registry.py", "def f():\n    from studio import catalog"),
        ("studio/tabs/text2img.py", "def f():\n    import transformers"),
        ("studio/tabs/text2img.py", "from studio.build import build_studio"),
        ("studio/world/scene.py", "def f():\n    import torch"),
        ("studio/diffusion/samplers.py", "from studio.errors import StudioError"),
        ("studio/train/vae.py", "from studio.engine import loaders"),
        ("studio/train/vae.py", "import studio.ui.widgets"),
        ("studio/perception/network.py", "from studio.diffusion import vae"),
        ("studio/engine/views.py", "if TYPE_CHECKING:\n    from studio.build import Studio"),
        ("studio/types.py", "import numpy"),
        ("studio/text.py", "from studio.types import Task"),
    ],
)
def test_a_planted_wrong_import_is_found(name: str, source: str):
    assert len(wrong_imports(name, source)) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("studio/tabs/text2img.py", "import gradio as gr\nfrom studio.ui import widgets"),
        ("studio/tabs/text2img.py", "if TYPE_CHECKING:\n    from studio.build import Studio"),
        ("studio/engine/loaders.py", "if TYPE_CHECKING:\n    from diffusers import UNet2DConditionModel"),
        ("studio/train/vae.py", "from diffusers import AutoencoderTiny\nfrom studio.world import scene"),
        ("studio/world/render.py", "import numpy\nfrom studio.world import scene"),
        (
            "studio/types.py",
            "if TYPE_CHECKING:\n    from PIL.Image import Image\nfrom studio.errors import InvalidInput",
        ),
    ],
)
def test_a_right_import_is_not_reported(name: str, source: str):
    assert wrong_imports(name, source) == []


def test_a_planted_long_function_and_a_long_file_are_found():
    function = "def f():\n" + "    pass\n" * MAX_FUNCTION_LINES
    assert too_long("a.py", function) == [f"a.py:1: f has {MAX_FUNCTION_LINES + 1} lines"]
    assert too_long("b.py", "pass\n" * (MAX_FILE_LINES + 1)) == [f"b.py: {MAX_FILE_LINES + 1} lines"]
