from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.settings import ROOT, Settings, memory_bytes, parse_bytes, resolve, spoken_language
from studio.text import LANGUAGES


def test_an_empty_environment_gives_the_safe_defaults():
    settings = Settings.from_env({})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.public) == ("127.0.0.1", 7860, False)
    assert (settings.models_dir, settings.data_dir) == (ROOT / "models", ROOT / "outputs")


def test_every_variable_is_read(tmp_path: Path):
    environ = {
        "STUDIO_HOST": "0.0.0.0",
        "STUDIO_PORT": "8000",
        "STUDIO_DEVICE": "cuda:1",
        "STUDIO_DTYPE": "float16",
        "STUDIO_RAM_LIMIT_BYTES": "6GB",
        "STUDIO_VRAM_LIMIT_BYTES": "512MB",
        "STUDIO_MODELS_DIR": str(tmp_path / "models"),
        "STUDIO_DATA_DIR": str(tmp_path / "data"),
        "STUDIO_HISTORY_LIMIT_BYTES": "300MB",
        "STUDIO_THREADS": "2",
        "STUDIO_BACKEND": "torch",
        "STUDIO_CHANNELS_LAST": "no",
        "STUDIO_COMPILE": "yes",
        "STUDIO_PUBLIC": "yes",
        "STUDIO_LANGUAGE": "zh",
    }
    assert Settings.from_env(environ) == Settings(
        host="0.0.0.0",
        port=8000,
        device="cuda:1",
        dtype="float16",
        ram_limit_bytes=6_000_000_000,
        vram_limit_bytes=512_000_000,
        models_dir=tmp_path / "models",
        data_dir=tmp_path / "data",
        history_limit_bytes=300_000_000,
        threads=2,
        backend="torch",
        channels_last=False,
        compile=True,
        public=True,
        language="zh",
    )


def test_empty_variables_mean_the_defaults():
    assert Settings.from_env({"STUDIO_PORT": "", "STUDIO_DEVICE": " ", "STUDIO_RAM_LIMIT_BYTES": ""}) == Settings()


def test_a_space_is_public_and_listens_to_all():
    settings = Settings.from_env({"SPACE_ID": "someone/studio"})
    assert (settings.host, settings.public) == ("0.0.0.0", True)


def test_gradios_own_variables_name_host_and_port():
    settings = Settings.from_env({"GRADIO_SERVER_NAME": "10.0.0.5", "GRADIO_SERVER_PORT": "7777", "SPACE_ID": "a/b"})
    assert (settings.host, settings.port) == ("10.0.0.5", 7777)


def test_the_studios_variables_come_before_gradios():
    environ = {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": "1", "STUDIO_HOST": "::1", "STUDIO_PORT": "2"}
    settings = Settings.from_env({**environ, "STUDIO_PUBLIC": "off"})
    assert (settings.host, settings.port, settings.public) == ("::1", 2, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STUDIO_PORT", "0"),
        ("STUDIO_PORT", "65536"),
        ("STUDIO_PORT", "80a"),
        ("STUDIO_PORT", "٣٣"),
        ("GRADIO_SERVER_PORT", "http"),
        ("STUDIO_DEVICE", "gpu"),
        ("STUDIO_DTYPE", "float8"),
        ("STUDIO_RAM_LIMIT_BYTES", "lots"),
        ("STUDIO_RAM_LIMIT_BYTES", "0"),
        ("STUDIO_VRAM_LIMIT_BYTES", "-1GB"),
        ("STUDIO_THREADS", "-1"),
        ("STUDIO_PUBLIC", "maybe"),
        ("STUDIO_LANGUAGE", "fr"),
        ("STUDIO_MODELS_DIR", __file__),
    ],
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_bad_value_is_refused_with_the_variables_name_and_the_value(name: str, value: str, language: str):
    with pytest.raises(StudioError) as caught:
        Settings.from_env({name: value})
    message = caught.value.message(language)
    assert name in message and value in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("6GB", 6_000_000_000),
        ("512 mb", 512_000_000),
        ("1.5GiB", 1_610_612_736),
        ("4096", 4096),
        ("10KB", 10_000),
        ("0", None),
        ("GB", None),
        ("1 PB", None),
        ("nan", None),
    ],
)
def test_amounts_of_memory_are_read_with_their_units(text: str, expected: int | None):
    assert parse_bytes(text) == expected


def test_resolve_names_everything_on_a_cpu():
    resolved = resolve(Settings(device="cpu"))
    assert (resolved.device, resolved.dtype, resolved.vram_limit_bytes) == ("cpu", "float32", 0)
    assert resolved.ram_limit_bytes == memory_bytes() // 2


def test_resolve_keeps_what_a_person_chose():
    chosen = Settings(device="cpu", dtype="bfloat16", ram_limit_bytes=1_000, vram_limit_bytes=2_000)
    assert resolve(chosen) == chosen


def test_resolve_refuses_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(StudioError) as caught:
        resolve(Settings(device="cuda:1"))
    assert caught.value.key == "no_such_device"


def test_a_language_that_cannot_be_read_is_still_answered():
    bad = {"STUDIO_LANGUAGE": "fr"}
    with pytest.raises(StudioError) as caught:
        Settings.from_env(bad)
    assert "en, zh" in caught.value.message(spoken_language(bad))


def test_reading_the_settings_does_not_import_torch():
    code = "import sys, studio.settings as s; s.Settings.from_env(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
