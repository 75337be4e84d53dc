from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, get_args

import pytest
from PIL import Image

from studio.__main__ import Benchmark, Evaluation, Stage, main, module_of
from studio.engine.infotext import read
from studio.errors import GenerationFailed, InvalidInput
from studio.evaluate.ask import Ask
from studio.evaluate.report import Report, ReportRow
from studio.events import Decoding, Done, Event, Failed, GenerationResult, Loading, Queued, Step, Stopped, Timings
from studio.settings import ROOT
from studio.types import MAX_SEED, Defaults, GenerationRequest, ModelSpec, Precision, Scheduler, Task

DEFAULTS = Defaults(128, 128, 20, 4.0, Scheduler.DPMPP_2M)
SPECS = {"little-world": ModelSpec("little-world", "base", "little_world", (), defaults=DEFAULTS)}


def picture(request: GenerationRequest) -> GenerationResult:
    """A picture whose colour is its seed; its timings are other ones each time."""
    colour = (request.seed % 256, 0, 0)
    image = Image.new("RGB", (request.width, request.height), colour)
    return GenerationResult((image,), request, Timings(load_seconds=time.perf_counter()), peak_bytes=0)


@dataclass
class FakeStudio:
    """Services whose jobs tell `events`, and then the picture unless an event ended them."""

    events: tuple[Event, ...] = (Queued(0), Loading("little-world"), Step(1, 2), Step(2, 2), Decoding())
    closed: bool = False
    requests: list[GenerationRequest] = field(default_factory=list)
    specs: dict[str, ModelSpec] = field(default_factory=lambda: SPECS)

    def specs_for(self, task: Task) -> dict[str, ModelSpec]:
        return self.specs

    @property
    def jobs(self) -> FakeStudio:
        return self

    def submit(self, work: Any, owner: str) -> Any:
        self.requests.append(work.request)
        return SimpleNamespace(tail=lambda: self._tail(work.request))

    def _tail(self, request: GenerationRequest) -> Iterator[Event]:
        yield from self.events
        yield Done(picture(request))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> FakeStudio:
    fake = FakeStudio()
    module = ModuleType("studio.build")
    module.build_studio = lambda settings: fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "studio.build", module)
    return fake


def run(*arguments: object) -> int:
    """The exit status of the command line."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_help_names_every_command_without_importing_torch_or_gradio():
    code = (
        "import sys\nfrom studio.__main__ import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "sys.exit(bool({'torch', 'gradio', 'diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    for command in ("run", "generate", "train", "evaluate", "bench", "doctor"):
        assert f"\n  {command} " in done.stdout


def test_run_starts_the_app(monkeypatch: pytest.MonkeyPatch):
    started: list[bool] = []
    module = ModuleType("app")
    module.main = lambda: started.append(True)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "app", module)
    assert run("run") == 0
    assert started == [True]


def test_generate_fills_the_gaps_with_the_models_defaults(studio: FakeStudio, tmp_path: Path):
    assert run("generate", "--prompt", "a red circle", "--seed", 5, "--out", tmp_path / "a.png") == 0
    assert studio.requests == [
        GenerationRequest(
            base_id="little-world",
            prompt="a red circle",
            seed=5,
            width=128,
            height=128,
            num_inference_steps=20,
            guidance_scale=4.0,
            scheduler=Scheduler.DPMPP_2M,
            precision=Precision.FAST,
        )
    ]


def test_generate_takes_every_option(studio: FakeStudio, tmp_path: Path):
    words = "--prompt p --negative n --seed 1 --steps 3 --guidance 0 --sampler euler --width 64 --height 96"
    words += " --precision exact"
    assert run("generate", *words.split(), "--model", "little-world", "--out", tmp_path / "a.png") == 0
    assert studio.requests == [
        GenerationRequest(
            base_id="little-world",
            prompt="p",
            seed=1,
            negative_prompt="n",
            width=64,
            height=96,
            num_inference_steps=3,
            guidance_scale=0.0,
            scheduler=Scheduler.EULER,
        )
    ]


def test_generate_writes_the_same_bytes_twice(studio: FakeStudio, tmp_path: Path):
    for name in ("a.png", "b.png"):
        assert run("generate", "--prompt", "p", "--seed", 7, "--out", tmp_path / name) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_the_picture_that_generate_writes_says_how_it_was_drawn(studio: FakeStudio, tmp_path: Path):
    run("generate", "--prompt", "一个红球", "--seed", 7, "--out", tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    assert GenerationRequest(**read(data, SPECS).values) == studio.requests[0]
    assert b"iTXtparameters" in data and b"tEXtstudio" in data


def test_generate_tells_its_progress_on_stderr_and_nothing_on_stdout(
    studio: FakeStudio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run("generate", "--prompt", "p", "--seed", 7, "--out", tmp_path / "a.png")
    told = capsys.readouterr()
    assert told.out == ""
    assert "Step 2 of 2" in told.err and "seed 7" in told.err


def test_generate_draws_a_seed_when_none_is_given(studio: FakeStudio, tmp_path: Path):
    for _ in range(2):
        run("generate", "--prompt", "p", "--out", tmp_path / "a.png")
    first, second = (request.seed for request in studio.requests)
    assert first != second and 0 <= first <= MAX_SEED


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--width", "100"], "width"),
        (["--steps", "0"], "num_inference_steps"),
        (["--seed", "-1"], "seed"),
        (["--guidance", "nan"], "guidance_scale"),
        (["--model", "unknown"], "little-world"),
        (["--sampler", "unknown"], "euler"),
        (["--steps", "many"], "--steps"),
        (["--out", "missing/folder/a.png"], "missing/folder"),
    ],
)
def test_generate_refuses_a_bad_value_with_a_sentence_and_exit_2(
    studio: FakeStudio, tmp_path: Path, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
):
    assert run("generate", "--prompt", "p", "--out", tmp_path / "a.png", *arguments) == 2
    told = capsys.readouterr().err
    assert named in told and "Traceback" not in told
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (Failed(GenerationFailed("latents_not_finite", step=3)), "3"),
        (Failed(InvalidInput("not_text", field="prompt")), "prompt must be text."),
        (Stopped(), "Stopped before it was finished."),
    ],
)
def test_a_job_that_fails_is_told_in_a_sentence_and_ends_the_worker(
    studio: FakeStudio, tmp_path: Path, event: Event, sentence: str, capsys: pytest.CaptureFixture[str]
):
    studio.events = (event,)
    assert run("generate", "--prompt", "p", "--out", tmp_path / "a.png") == 2
    assert sentence in capsys.readouterr().err
    assert studio.closed


def test_a_bad_setting_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("STUDIO_PORT", "http")
    monkeypatch.setenv("STUDIO_LANGUAGE", "zh")
    assert run("doctor") == 2
    assert capsys.readouterr().err == "STUDIO_PORT 必须是 1 到 65535 之间的整数，现在是 http。\n"


@pytest.fixture
def question(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """`evaluate vae` and `bench text2img` answer with one row that misses its target, and print on the way."""
    calls: list[dict[str, Any]] = []

    def answer(settings: Any, ask: Ask) -> Report:
        print("measuring")
        calls.append(asdict(ask))
        return Report("evaluate vae", (ReportRow("psnr", 20.0, unit="dB", target=30.0),))

    for name in ("studio.evaluate.vae", "studio.bench.text2img"):
        module = ModuleType(name)
        module.run = answer  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    return calls


@pytest.mark.parametrize("words", [["evaluate", "vae"], ["bench", "text2img"]])
def test_json_is_the_only_thing_on_stdout(
    question: list[dict[str, Any]], words: list[str], capsys: pytest.CaptureFixture[str]
):
    assert run(*words, "--json") == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["rows"][0]["holds"] is False
    assert told.err == "measuring\n"


def test_check_exits_with_1_when_a_target_is_missed(question: list[dict[str, Any]]):
    assert run("evaluate", "vae", "--check") == 1
    assert run("evaluate", "vae") == 0


def test_a_table_is_printed_without_json(question: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]):
    run("bench", "text2img")
    assert capsys.readouterr().out.splitlines()[-1].endswith("NO")


def test_evaluate_hands_its_options_to_the_question(question: list[dict[str, Any]]):
    run(*["evaluate", "vae", "--model", "little-world", "--preset", "gpu", "--seed", "4", "--samples", "9"])
    expected = {"model": "little-world", "preset": "gpu", "seed": 4, "samples": 9, "language": "en", "kind": None}
    assert question == [expected]


@pytest.mark.parametrize("words", [["train", "controlnet"], ["evaluate", "controlnet"]])
def test_a_kind_of_map_has_to_be_named_where_there_are_kinds(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert run(*words) == 2
    assert "canny, depth, pose" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["train", "unet"], ["evaluate", "vae"]])
def test_a_kind_of_map_is_refused_where_there_are_none(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert run(*words, "--kind", "pose") == 2
    assert words[1] in capsys.readouterr().err


@pytest.mark.parametrize(("room", "names"), [("train", Stage), ("evaluate", Evaluation), ("bench", Benchmark)])
def test_every_name_on_the_command_line_has_its_module(room: str, names: Any):
    assert [name for name in get_args(names) if find_spec(f"studio.{room}.{module_of(name)}") is None] == []
