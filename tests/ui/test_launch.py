"""The page is served closed."""

from __future__ import annotations

import inspect

import gradio as gr
import gradio.routes
import pytest

from studio.settings import Settings
from studio.ui.launch import STYLE_SHEET, hush, launch_options


@pytest.mark.parametrize(
    "option", ["share", "show_error", "ssr_mode", "enable_monitoring", "mcp_server", "run_history"]
)
def test_what_could_open_the_studio_is_off(option: str):
    assert launch_options(Settings())[option] is False


def test_it_listens_where_the_settings_say():
    options = launch_options(Settings(host="0.0.0.0", port=8080))
    assert (options["server_name"], options["server_port"]) == ("0.0.0.0", 8080)


def test_gradio_knows_every_option():
    assert set(launch_options(Settings())) <= set(inspect.signature(gr.Blocks.launch).parameters)


def test_the_style_sheet_is_there_and_asks_no_other_host():
    assert "http" not in STYLE_SHEET.read_text(encoding="utf-8")


def test_only_the_lines_about_files_are_hushed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(gradio.routes, "print", print, raising=False)
    hush()
    say = vars(gradio.routes)["print"]
    say("id=antd, environment=client")
    say("something else")
    assert capsys.readouterr().out == "something else\n"
