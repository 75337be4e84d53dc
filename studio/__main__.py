"""The command line: `python -m studio run | generate | train | evaluate | bench | download | doctor`.

Heavy imports stand inside the commands, so that help is there at once.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from studio.environment import prepare
from studio.errors import StudioError
from studio.evaluate.ask import Ask
from studio.settings import Settings, spoken_language
from studio.types import MAX_SEED, USUAL_FEATHER, Fit, Ground, Precision, Scheduler, Task

WorldStage = Literal["clip", "vae", "unet", "perception", "upscale", "heads", "controlnet", "ip-adapter", "lora"]
Stage = Literal[WorldStage, "few-step", "ddpm", "vae-lab", "noisy-classifier", "tdq"]
Preset = Literal["smoke", "cpu", "gpu"]
Evaluation = Literal[
    "text2img", "img2img", "vae", "perception", "controlnet", "ip-adapter", "lora", "few-step", "diffusion", "quant"
]
Benchmark = Literal["text2img", "controlnet", "lora", "quant", "start", "tabs", "load", "world"]
Drawing = Literal["text2img", "img2img", "inpaint", "controlnet", "ip_adapter"]
Kind = Literal["canny", "depth", "pose"]
Concept = Literal["blueprint", "pop_art", "rocket", "momo"]
Where = Literal["all", "style", "layout"]
LoraFormat = Literal["diffusers", "kohya"]
Schedule = Literal["linear", "scaled_linear", "cosine", "sigmoid"]
WITH_KINDS, WITH_SCHEDULES = ("controlnet",), ("ddpm", "noisy-classifier")

SeedOption = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same result.")]
ModelOption = Annotated[str | None, typer.Option(help="Which model; without it the one that the question is about.")]
PresetOption = Annotated[Preset, typer.Option(help="How much work: a trial, for this machine's CPU, for a GPU.")]
SamplesOption = Annotated[int | None, typer.Option(min=1, help="How many samples; without it as many as the preset.")]
KindOption = Annotated[Kind | None, typer.Option(help="Which kind of map, where there are kinds.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
CheckOption = Annotated[bool, typer.Option("--check", help="Exit with 1 if a row misses its target.")]

cli = typer.Typer(
    help="Diffusion Studio: see, steer and understand diffusion models.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@cli.command()
def run() -> None:
    """Open the studio in the browser (STUDIO_HOST, STUDIO_PORT and the other variables say how)."""
    import app

    app.main()


@cli.command()
def generate(
    prompt: Annotated[str, typer.Option(help="What the picture shows.")],
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("picture.png"),
    negative: Annotated[str, typer.Option(help="What it shall not show.")] = "",
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same bytes; without it one is drawn.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale.")] = None,
    sampler: Annotated[Scheduler | None, typer.Option(help="Sampler.")] = None,
    width: Annotated[int | None, typer.Option(help="Width in pixels.")] = None,
    height: Annotated[int | None, typer.Option(help="Height in pixels.")] = None,
    model: Annotated[str, typer.Option(help="Which model.")] = "little-world",
    precision: Annotated[Precision | None, typer.Option(help="How exactly it is computed.")] = None,
    task: Annotated[Drawing, typer.Option(help="What it is drawn from.")] = "text2img",
    image: Annotated[Path | None, typer.Option(help="The picture that another one is drawn from.")] = None,
    mask: Annotated[Path | None, typer.Option(help="inpaint: of the same size, white where it may change.")] = None,
    strength: Annotated[float | None, typer.Option(help="The share of the steps that is run.")] = None,
    feather: Annotated[int, typer.Option(help="inpaint: over so many pixels old and new are mixed.")] = USUAL_FEATHER,
    invert: Annotated[bool, typer.Option("--invert", help="inpaint: draw what the mask leaves black.")] = False,
    fit: Annotated[Fit, typer.Option(help="How the picture comes to the size that is drawn.")] = Fit.CROP,
    ground: Annotated[Ground, typer.Option(help="The colour under and beside it.")] = Ground.WHITE,
    control: Annotated[
        list[str] | None,
        typer.Option(
            help="controlnet: KIND:MAP[:SCALE[:START[:END]]] to follow, such as depth:map.png:0.8; several are added. "
            "KIND@DETECTOR:PICTURE... for a map that a detector finds, such as pose@openpose:photo.jpg."
        ),
    ] = None,
    lora: Annotated[
        list[str] | None, typer.Option(help="NAME[:WEIGHT] of a LoRA on the shelf, such as momo:0.8; several add up.")
    ] = None,
    reference: Annotated[
        list[str] | None, typer.Option(help="ip_adapter: FILE[:WEIGHT] of a picture to draw after; up to four.")
    ] = None,
    scale: Annotated[float, typer.Option(help="ip_adapter: how strongly the references act.")] = 1.0,
    start: Annotated[float, typer.Option(help="ip_adapter: from this share of the steps on.")] = 0.0,
    end: Annotated[float, typer.Option(help="ip_adapter: up to this share of the steps.")] = 1.0,
    where: Annotated[Where, typer.Option(help="ip_adapter: in which blocks of the UNet.")] = "all",
    quant: Annotated[str, typer.Option(help="Quantized: a method and its bits, as openvino_int8, mse-w8a6.")] = "none",
) -> None:
    """Draw one picture. What is not given is the model's own default."""
    from studio.draw import Origin, Wish, draw
    from studio.steer import Mapped, Referred, Steer

    if task == "controlnet" and not control:
        raise StudioError("control_missing")
    refers = task == "ip_adapter"
    origin_task = Task.TEXT_TO_IMAGE if refers or task == "controlnet" else Task(task)
    origin = Origin(origin_task, image, mask, strength, feather, invert, fit, ground)
    steering: list[Steer] = [Mapped(one, fit, ground) for one in control or ()]
    if refers or reference:
        steering.append(Referred(tuple(reference or ()), scale, start, end, where))
    told = (model, prompt, negative, seed, steps, guidance, sampler, width, height, precision)
    wish = Wish(*told, origin, tuple(steering), tuple(lora or ()), quant)
    draw(wish, out, Settings.from_env())


@cli.command()
def train(
    stage: Annotated[Stage, typer.Argument(help="Which part of the little world.")],
    preset: PresetOption = "cpu",
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Stop after this time.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    init_from: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Start from these weights.")
    ] = None,
    seed: SeedOption = 0,
    out: Annotated[Path | None, typer.Option(file_okay=False, help="Write here instead of models/.")] = None,
    kind: KindOption = None,
    images: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="LoRA: a folder of pictures, with .txt captions.")
    ] = None,
    trigger: Annotated[str | None, typer.Option(help="LoRA: the word that asks for what the pictures show.")] = None,
    concept: Annotated[Concept | None, typer.Option(help="LoRA: a concept that the base was never shown.")] = None,
    file_format: Annotated[LoraFormat | None, typer.Option("--format", help="LoRA: how the file is laid out.")] = None,
    schedule: Annotated[Schedule | None, typer.Option(help="DDPM and its classifier: how the noise grows.")] = None,
) -> None:
    """Train one part of the little world and write it, with its card and its metrics."""
    _check_kind(stage, kind)
    lora = {"--images": images, "--trigger": trigger, "--concept": concept, "--format": file_format}
    for option, value in lora.items():
        if stage != "lora" and value is not None:
            raise StudioError("option_not_taken", name=stage, option=option)
    if stage not in WITH_SCHEDULES and schedule is not None:
        raise StudioError("option_not_taken", name=stage, option="--schedule")
    from studio.train.run import Options

    told = (preset, minutes, resume, init_from, seed, out, kind, images, trigger, concept)
    options = Options(*told, file_format or "diffusers", schedule)
    importlib.import_module(f"studio.train.{module_of(stage)}").main(options)


@cli.command()
def evaluate(
    name: Annotated[Evaluation, typer.Argument(help="Which question.")],
    model: ModelOption = None,
    preset: PresetOption = "cpu",
    seed: SeedOption = 0,
    samples: SamplesOption = None,
    language: Annotated[Literal["en", "zh"], typer.Option(help="The language of the prompts.")] = "en",
    kind: KindOption = None,
    as_json: JsonOption = False,
    check: CheckOption = False,
) -> None:
    """Measure how good a model is."""
    _check_kind(name, kind)
    _answer(f"studio.evaluate.{module_of(name)}", Ask(model, preset, seed, samples, language, kind), as_json, check)


@cli.command()
def bench(
    name: Annotated[Benchmark, typer.Argument(help="Which question.")],
    model: ModelOption = None,
    preset: PresetOption = "cpu",
    seed: SeedOption = 0,
    samples: SamplesOption = None,
    as_json: JsonOption = False,
    check: CheckOption = False,
) -> None:
    """Measure how fast something is."""
    _answer(f"studio.bench.{name}", Ask(model, preset, seed, samples), as_json, check)


@cli.command()
def download(model: Annotated[str, typer.Argument(help="Which model, by its id.")]) -> None:
    """Download a model; one that was broken off goes on where it was."""
    from studio.fetch import fetch

    fetch(model, Settings.from_env())


@cli.command()
def doctor() -> None:
    """Say what this machine has, what is missing and how to get it."""
    from studio.doctor import report

    raise typer.Exit(report(Settings.from_env()))


def module_of(name: str) -> str:
    """The module of a stage or a question."""
    return name.replace("-", "_")


def _check_kind(name: str, kind: Kind | None) -> None:
    """Refuse a missing kind of map where there are kinds, and any kind elsewhere."""
    if name in WITH_KINDS and kind is None:
        raise StudioError("kind_missing", choices=", ".join(get_args(Kind)))
    if name not in WITH_KINDS and kind is not None:
        raise StudioError("kind_not_taken", name=name)


def _answer(module: str, ask: Ask, as_json: bool, check: bool) -> None:
    """Run the question's module and print its report; whatever else it prints goes to stderr."""
    settings = Settings.from_env()
    with redirect_stdout(sys.stderr):
        question = importlib.import_module(module)
        report = question.run(settings, ask)
    print(report.as_json() if as_json else report.as_table())
    if check and not report.holds:
        raise typer.Exit(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; an error that can be told is one sentence on stderr and exit 2."""
    prepare()
    try:
        cli(arguments)
    except StudioError as error:
        typer.echo(error.message(spoken_language()), err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
