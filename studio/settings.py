"""What a person decides outside the page, read once from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from studio.errors import StudioError
from studio.text import LANGUAGES

ROOT = Path(__file__).resolve().parent.parent
DTYPES = ("auto", "float32", "bfloat16", "float16")
BACKENDS = ("auto", "torch", "openvino")
DEVICE_PATTERN = re.compile(r"auto|cpu|cuda(:\d+)?")
BYTES_PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|TB|KIB|MIB|GIB|TIB)?", re.IGNORECASE)
BYTES_PER_UNIT = {
    unit: base**power
    for base, units in ((1000, ("B", "KB", "MB", "GB", "TB")), (1024, ("B", "KIB", "MIB", "GIB", "TIB")))
    for power, unit in enumerate(units)
}
YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
RAM_SHARE, VRAM_SHARE = 0.5, 0.85


@dataclass(frozen=True)
class Settings:
    """How this studio runs. `from_env` reads it, `resolve` replaces what is left to the machine ("auto" and 0)."""

    host: str = "127.0.0.1"
    port: int = 7860
    device: str = "auto"
    dtype: str = "auto"
    ram_limit_bytes: int = 0
    """What resident models may take of the memory; 0: half of it."""
    vram_limit_bytes: int = 0
    """What resident models may take of the graphics card's memory; 0: 85 % of it."""
    models_dir: Path = ROOT / "models"
    data_dir: Path = ROOT / "outputs"
    history_limit_bytes: int = 2_000_000_000
    """What the pictures of the history may take of the disk, all together; the oldest make room."""
    threads: int = 0
    """CPU threads of torch; 0: as many as torch chooses."""
    backend: str = "auto"
    """What draws on a CPU: torch, or openvino; auto: openvino where it is installed."""
    channels_last: bool = True
    """On a graphics card: store convolutions as tensor cores read them."""
    compile: bool = False
    """On a graphics card: compile the UNet's repeated blocks; a minute at the first picture, then faster."""
    public: bool = False
    """Strangers use this studio: narrower limits."""
    language: str = "en"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the variables STUDIO_*, and those by which a Space and gradio name host and port.

        A host that offers the page to everybody (SPACE_ID is set) makes it public unless told otherwise.
        Raises StudioError that names the variable and what it takes.
        """
        on_a_space = bool(environ.get("SPACE_ID"))
        host = environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if on_a_space else cls.host)
        port = _whole(environ, "GRADIO_SERVER_PORT", cls.port, 1, 65_535)
        return cls(
            host=_text(environ, "STUDIO_HOST", host),
            port=_whole(environ, "STUDIO_PORT", port, 1, 65_535),
            device=_device(environ, "STUDIO_DEVICE", cls.device),
            dtype=_choice(environ, "STUDIO_DTYPE", cls.dtype, DTYPES),
            ram_limit_bytes=_bytes(environ, "STUDIO_RAM_LIMIT_BYTES", cls.ram_limit_bytes),
            vram_limit_bytes=_bytes(environ, "STUDIO_VRAM_LIMIT_BYTES", cls.vram_limit_bytes),
            models_dir=_folder(environ, "STUDIO_MODELS_DIR", cls.models_dir),
            data_dir=_folder(environ, "STUDIO_DATA_DIR", cls.data_dir),
            history_limit_bytes=_bytes(environ, "STUDIO_HISTORY_LIMIT_BYTES", cls.history_limit_bytes),
            threads=_whole(environ, "STUDIO_THREADS", cls.threads, 0, 1_024),
            backend=_choice(environ, "STUDIO_BACKEND", cls.backend, BACKENDS),
            channels_last=_flag(environ, "STUDIO_CHANNELS_LAST", cls.channels_last),
            compile=_flag(environ, "STUDIO_COMPILE", cls.compile),
            public=_flag(environ, "STUDIO_PUBLIC", on_a_space),
            language=_choice(environ, "STUDIO_LANGUAGE", cls.language, LANGUAGES),
        )


def spoken_language(environ: Mapping[str, str] = os.environ) -> str:
    """The language for a sentence about settings that cannot be read themselves; `t` takes any other for English."""
    return environ.get("STUDIO_LANGUAGE", "").strip().lower()


def resolve(settings: Settings) -> Settings:
    """The same settings with everything named that was left to the machine. Imports torch.

    Raises StudioError if a graphics card is asked for that is not there.
    """
    import torch

    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    index = torch.device(device).index or 0
    if device != "cpu" and index >= torch.cuda.device_count():
        raise StudioError("no_such_device", name="STUDIO_DEVICE", value=device, count=torch.cuda.device_count())
    dtype, vram_bytes = "float32", 0
    if device != "cpu":
        dtype = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
        vram_bytes = int(torch.cuda.get_device_properties(index).total_memory * VRAM_SHARE)
    return replace(
        settings,
        device=device,
        dtype=dtype if settings.dtype == "auto" else settings.dtype,
        ram_limit_bytes=settings.ram_limit_bytes or int(memory_bytes() * RAM_SHARE),
        vram_limit_bytes=settings.vram_limit_bytes or vram_bytes,
    )


def memory_bytes() -> int:
    """The memory that this process may use: the machine's, or its container's limit where that is smaller."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    written = limit.read_text().strip() if limit.is_file() else "max"
    return machine if written == "max" else min(machine, int(written))


def parse_bytes(text: str) -> int | None:
    """Read 6GB as 6,000,000,000, 512MiB as 512 * 2**20 and a bare number as bytes; None for anything else or zero."""
    matched = BYTES_PATTERN.fullmatch(text.strip())
    if not matched:
        return None
    return int(float(matched[1]) * BYTES_PER_UNIT[(matched[2] or "B").upper()]) or None


def _text(environ: Mapping[str, str], name: str, default: str) -> str:
    """The variable's text; unset and empty both mean the default."""
    return environ.get(name, "").strip() or default


def _whole(environ: Mapping[str, str], name: str, default: int, minimum: int, maximum: int) -> int:
    text = _text(environ, name, str(default))
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not minimum <= int(text) <= maximum:
        raise StudioError("setting_whole_number", name=name, value=text, minimum=minimum, maximum=maximum)
    return int(text)


def _choice(environ: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    text = _text(environ, name, default).lower()
    if text not in choices:
        raise StudioError("setting_choice", name=name, value=text, choices=", ".join(choices))
    return text


def _device(environ: Mapping[str, str], name: str, default: str) -> str:
    text = _text(environ, name, default).lower()
    if not DEVICE_PATTERN.fullmatch(text):
        raise StudioError("setting_choice", name=name, value=text, choices="auto, cpu, cuda, cuda:0, cuda:1")
    return text


def _bytes(environ: Mapping[str, str], name: str, default: int) -> int:
    text = _text(environ, name, "")
    if not text:
        return default
    parsed = parse_bytes(text)
    if parsed is None:
        raise StudioError("setting_bytes", name=name, value=text)
    return parsed


def _folder(environ: Mapping[str, str], name: str, default: Path) -> Path:
    path = Path(_text(environ, name, str(default))).expanduser().resolve()
    if path.exists() and not path.is_dir():
        raise StudioError("setting_folder", name=name, value=path)
    return path


def _flag(environ: Mapping[str, str], name: str, default: bool) -> bool:
    text = _text(environ, name, "1" if default else "0").lower()
    if text not in YES + NO:
        raise StudioError("setting_flag", name=name, value=text)
    return text in YES
