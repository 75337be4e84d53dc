"""A page to draw tabs on."""

from __future__ import annotations

from tests.ui.conftest import page

__all__ = ["page"]
