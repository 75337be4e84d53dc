"""The few components of modelscope_studio that the page is made of.

Its packages import all of their hundreds of components when they are entered: 1.5 seconds of every start. Here they are
entered without that; what is imported from below them runs as ever.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec

PACKAGES = (
    "modelscope_studio",
    "modelscope_studio.components",
    "modelscope_studio.components.antd",
    "modelscope_studio.components.base",
)


def _enter(package: str) -> None:
    """Make a package known, unless it is already, without running what it does when it is imported."""
    if package not in sys.modules:
        spec = find_spec(package)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        sys.modules[package] = module_from_spec(spec)


for _package in PACKAGES:
    _enter(_package)

from modelscope_studio.components.antd.alert import AntdAlert as Alert  # noqa: E402
from modelscope_studio.components.antd.card import AntdCard as Card  # noqa: E402
from modelscope_studio.components.antd.config_provider import AntdConfigProvider as ConfigProvider  # noqa: E402
from modelscope_studio.components.antd.drawer import AntdDrawer as Drawer  # noqa: E402
from modelscope_studio.components.antd.progress import AntdProgress as Progress  # noqa: E402
from modelscope_studio.components.antd.tag import AntdTag as Tag  # noqa: E402
from modelscope_studio.components.base.application import ModelScopeApplication as Application  # noqa: E402
from modelscope_studio.components.base.slot import ModelScopeSlot as Slot  # noqa: E402

__all__ = ["Alert", "Application", "Card", "ConfigProvider", "Drawer", "Progress", "Slot", "Tag"]
