"""How the page is served: closed unless the settings open it, and nothing fetched from elsewhere."""

from __future__ import annotations

from typing import Any

import gradio.routes
from starlette.middleware import Middleware

from studio.settings import ROOT, Settings
from studio.ui.language import LanguageMiddleware
from studio.ui.text import translations
from studio.ui.theme import theme

STYLE_SHEET = ROOT / "assets" / "style.css"
THREADS = 128
"""Each browser that watches a job holds one of them."""


def launch_options(settings: Settings) -> dict[str, Any]:
    """The keyword arguments of `gr.Blocks.launch`."""
    return {
        "server_name": settings.host,
        "server_port": settings.port,
        "share": False,
        "show_error": False,
        "strict_cors": True,
        "ssr_mode": False,
        "enable_monitoring": False,
        "mcp_server": False,
        "run_history": False,
        "pwa": False,
        "max_threads": THREADS,
        "max_file_size": "20mb",
        "footer_links": ["api"],
        "i18n": translations(),
        "theme": theme(),
        "css_paths": STYLE_SHEET,
        "app_kwargs": {"middleware": [Middleware(LanguageMiddleware)]},
        "prevent_thread_lock": True,
    }


def hush() -> None:
    """Stop Gradio from printing a line for each of the hundreds of files that antd's parts consist of."""

    def say(*values: object, **options: Any) -> None:
        if not (values and str(values[0]).startswith("id=")):
            print(*values, **options)

    vars(gradio.routes)["print"] = say
