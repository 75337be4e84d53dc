from __future__ import annotations

import ast
import sys

import pytest

from studio.settings import ROOT

FILES = sorted((ROOT / "studio" / "diffusion").glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_of_the_maths_room_needs_torch_alone_and_fits_beside_its_paper(path):  # type: ignore[no-untyped-def]
    source = path.read_text(encoding="utf-8")
    froms = [node.module or "" for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    plain = [one.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import) for one in node.names]
    foreign = {name for name in (*froms, *plain) if name.partition(".")[0] not in (*sys.stdlib_module_names, "torch")}
    assert all(name.startswith("studio.diffusion") for name in foreign), foreign
    assert len(source.splitlines()) <= 200
