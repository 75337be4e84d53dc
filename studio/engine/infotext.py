"""The text inside a picture: what it takes to draw it again.

A PNG carries two text chunks: `studio`, our own versioned JSON, exact; and `parameters`, for other programs. Neither
holds anything that differs between two equal runs. A picture of several is described as if it were drawn alone, with
its own seed. Reading trusts nothing: it looks at no pixel, and every value passes the bounds of GenerationRequest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from studio.engine.images import pixel_sha256 as pixel_sha256
from studio.engine.lora_tags import lora_hashes, tagged, with_tags
from studio.engine.parameters import SAMPLER_NAMES, compose, parse, split_sampler
from studio.engine.recorded_controls import as_units, recorded, restored
from studio.errors import InvalidInput, StudioError
from studio.events import GenerationResult
from studio.types import GenerationRequest, Scheduler, Task

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

OWN, FOREIGN = "studio", "parameters"
UPSCALED = "upscaled"
"""In our record: by what the picture was made larger after it was drawn."""
OWN_VERSION = 1
PROGRAM = "Diffusion Studio"
VERSION = f"{PROGRAM} 0.1.0"
# fmt: off
RECORDED = (
    "base_id", "prompt", "negative_prompt", "seed", "task", "quant_id", "width", "height", "num_inference_steps",
    "guidance_scale", "scheduler", "precision",
)
# fmt: on
PICTURES = ("init_image", "mask")
CONTROLS = "controls"
RECORDED_FROM_PICTURE: Mapping[Task, tuple[str, ...]] = MappingProxyType(
    {Task.TEXT_TO_IMAGE: (), Task.IMAGE_TO_IMAGE: ("strength",), Task.INPAINT: ("strength", "feather")}
)
"""What is recorded as well of a picture that is drawn from another one; that one's pixels only as a hash."""
RECORDABLE = (*RECORDED, *RECORDED_FROM_PICTURE[Task.INPAINT])
# These draw along the timesteps that the model spaces evenly; the others know no other schedule.
SCHEDULED = (Scheduler.EULER, Scheduler.DPMPP_2M)
OWN_SCHEDULES = ("", "Automatic", "Uniform")

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_BYTES = 20 * 2**20
MAX_CHARACTERS = 2**20
MAX_NAMED = 8
"""So many of the settings that are not known here are told by name."""
EXIF_PART, USER_COMMENT = 0x8769, 0x9286
SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")
# Settings that another program's text may hold and that say nothing about how to draw.
REMARKS = ("Model hash", "Lora hashes", "RNG", "User", "Version")


@dataclass(frozen=True)
class Restored:
    """What a picture says of itself. values: valid fields of a GenerationRequest, by name; no pictures.

    problems: what was not restored, or not exactly, as errors to be told. model_sha256: empty if it is not known.
    sources: `pixel_sha256` of the pictures that it was drawn from, by field; "controls.0.1" for the second picture of
    the first control.
    """

    values: Mapping[str, Any]
    problems: tuple[StudioError, ...] = ()
    model_sha256: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)


def texts(request: GenerationRequest, model_sha256: str, index: int = 0, backend: str = "torch") -> dict[str, str]:
    """The texts by their keywords of a request's picture `index`. backend: what computed it."""
    weights = {"model_sha256": model_sha256, "backend": backend}
    record = {"version": OWN_VERSION, "request": _record(request, index), **weights}
    return {FOREIGN: _parameters(request, model_sha256, index), OWN: json.dumps(record)}


def write(request: GenerationRequest, model_sha256: str, index: int = 0, backend: str = "torch") -> PngInfo:
    """The chunks of a request's picture `index`, for `Image.save(pnginfo=...)`."""
    chunks = PngInfo()
    for keyword, text in texts(request, model_sha256, index, backend).items():
        chunks.add_text(keyword, text)
    return chunks


def labelled(result: GenerationResult) -> tuple[Picture, ...]:
    """Copies of the pictures with their texts in `info`, from where gradio takes them when it writes a PNG."""
    copies = tuple(image.copy() for image in result.images)
    for index, image in enumerate(copies):
        image.info.update(texts(result.request, result.model_sha256, index, result.backend))
    return copies


def read(data: bytes, models: Collection[str]) -> Restored:
    """What the bytes of a PNG, JPEG or WebP say of how to draw it. models: the ids that a model may have.

    Takes time linear in the bytes. Raises StudioError for what is no picture or holds no such text.
    """
    found = _texts_inside(data)
    if any(len(text) > MAX_CHARACTERS for text in found.values()):
        raise StudioError("picture_text_too_long", maximum=MAX_CHARACTERS)
    problems: list[StudioError] = []
    sha256, sources = "", {}
    if (record := _own_record(found.get(OWN, ""))) is not None:
        values = {name: value for name, value in record["request"].items() if name in RECORDABLE}
        _name_unknown(record["request"].keys() - {*values, *PICTURES, CONTROLS}, problems)
        sha256 = str(record.get("model_sha256", ""))[:64]
        if UPSCALED in record:
            problems.append(StudioError("picture_upscaled"))
        sources = {name: str(record["request"][name])[:64] for name in PICTURES if name in record["request"]}
        uses, maps = restored(record["request"].get(CONTROLS, []), problems)
        values, sources = {**values, **({CONTROLS: uses} if uses else {})}, {**sources, **maps}
    elif FOREIGN in found:
        if OWN in found:
            problems.append(StudioError("picture_record_unreadable"))
        values = _from_parameters(found[FOREIGN], problems)
    else:
        raise StudioError("picture_without_settings")
    return Restored(_valid(tagged(values), models, problems), tuple(problems), sha256, sources)


def _record(request: GenerationRequest, index: int) -> dict[str, Any]:
    """The fields that determine a picture, by name; of the pictures that it is drawn from, a hash of the pixels."""
    fields = {name: getattr(request, name) for name in RECORDED}
    fields |= {"seed": request.seed + index, "guidance_scale": float(request.guidance_scale)}
    if request.task is not Task.TEXT_TO_IMAGE:
        fields |= source_hashes(request)
        fields |= {name: getattr(request, name) for name in RECORDED_FROM_PICTURE[request.task]}
        fields["strength"] = float(request.strength)
    return {**fields, **control_records(request)}


def control_records(request: GenerationRequest) -> dict[str, Any]:
    """What is kept of the controls of a request that has any, by the field's name."""
    return {CONTROLS: recorded(request.controls)} if request.controls else {}


def source_hashes(request: GenerationRequest) -> dict[str, str]:
    """`pixel_sha256` of the pictures that a request is drawn from, by field."""
    pictures = {name: getattr(request, name) for name in PICTURES}
    return {name: pixel_sha256(picture) for name, picture in pictures.items() if picture is not None}


def _parameters(request: GenerationRequest, model_sha256: str, index: int) -> str:
    """The same for other programs, in the order of AUTOMATIC1111's own."""
    settings = {
        "Steps": request.num_inference_steps,
        "Sampler": SAMPLER_NAMES[request.scheduler],
        "Schedule type": "Uniform" if request.scheduler in SCHEDULED else None,
        "CFG scale": _plain_number(request.guidance_scale),
        "Seed": request.seed + index,
        "Size": f"{request.width}x{request.height}",
        "Model hash": model_sha256[:10] or None,
        "Model": request.base_id,
        "Denoising strength": None if request.task is Task.TEXT_TO_IMAGE else _plain_number(request.strength),
        "Mask blur": request.feather if request.task is Task.INPAINT else None,
        "Lora hashes": lora_hashes(request.controls),
        **as_units(request.controls),
        "RNG": "CPU",
        "Version": VERSION,
    }
    text = compose(with_tags(request.prompt, request.controls), request.negative_prompt, settings)
    # A chunk can hold neither a NUL nor half of a surrogate pair.
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")


def _plain_number(value: float) -> str:
    return str(float(value)).removesuffix(".0")


def _texts_inside(data: bytes) -> dict[str, str]:
    """The texts that stand before a picture's pixels, under our two keywords."""
    if len(data) > MAX_BYTES:
        raise StudioError("picture_too_big", maximum_mb=MAX_BYTES // 2**20, value_mb=-(-len(data) // 2**20))
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            found = {key: text for key in (OWN, FOREIGN) if isinstance(text := image.info.get(key), str)}
            comment = None if found or "exif" not in image.info else _user_comment(image.info["exif"])
    except Exception as error:  # whatever a decoder trips over in a stranger's file: it is the file's fault
        raise StudioError("not_a_picture", formats=", ".join(FORMATS)) from error
    return {FOREIGN: comment} if comment else found


def _user_comment(exif: bytes) -> str | None:
    """The comment of a JPEG or WebP. Its eight first bytes name the encoding, UTF-16 leaves its byte order open."""
    tags = Image.Exif()
    tags.load(exif)
    comment = tags.get_ifd(EXIF_PART).get(USER_COMMENT)
    if not isinstance(comment, bytes):
        return None
    encoding, body = comment[:8], comment[8:]
    if encoding != b"UNICODE\0":
        return body.decode("utf-8", "replace").strip("\0")
    big, little = body.decode("utf-16-be", "replace"), body.decode("utf-16-le", "replace")
    return (little if "Steps: " in little else big).lstrip("\ufeff")


def _own_record(text: str) -> dict[str, Any] | None:
    """Our own chunk, or None if there is none, or none that this version understands."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    understood = isinstance(record, dict) and record.get("version") == OWN_VERSION
    return record if understood and isinstance(record.get("request"), dict) else None


def _from_parameters(text: str, problems: list[StudioError]) -> dict[str, Any]:
    """Values by field from a text for other programs; adds to `problems` what has no field here."""
    parsed = parse(text)
    settings = dict(parsed.settings)
    values: dict[str, Any] = {"prompt": parsed.prompt, "negative_prompt": parsed.negative_prompt}
    if not settings:
        problems.append(StudioError("picture_only_prompt"))
    elif not settings.get("Version", "").startswith(PROGRAM):
        problems.append(StudioError("picture_foreign"))
    for key, name, kind in (
        ("Steps", "num_inference_steps", int),
        ("CFG scale", "guidance_scale", float),
        ("Seed", "seed", int),
        ("Denoising strength", "strength", float),
        ("Mask blur", "feather", int),
    ):
        if key in settings:
            values[name] = _number(settings.pop(key), kind)
    if "Size" in settings:
        values |= _sides(settings.pop("Size"))
    if "Model" in settings:
        values["base_id"] = settings.pop("Model")
    if "strength" in values and "Hires upscale" not in settings:
        values["task"] = Task.INPAINT if "feather" in values else Task.IMAGE_TO_IMAGE
    if "Sampler" in settings:
        values["scheduler"] = _sampler(settings.pop("Sampler"), settings.pop("Schedule type", ""), problems)
    _name_unknown([name for name in settings if name not in REMARKS], problems)
    return values


def _name_unknown(names: Collection[str], problems: list[StudioError]) -> None:
    """Add to `problems` which settings are not known here, if there are any."""
    named = ", ".join(name[:40] for name in sorted(names)[:MAX_NAMED])
    if names:
        problems.append(StudioError("picture_settings_unknown", names=named + " …" * (len(names) > MAX_NAMED)))


def _number(text: str, kind: type[int] | type[float]) -> int | float | str:
    """The number, or the text itself: the request refuses it by the name of its field."""
    try:
        return kind(text)
    except ValueError:
        return text


def _sides(text: str) -> dict[str, int | str]:
    """Width and height of a size such as 512x768."""
    size = SIZE.fullmatch(text)
    return {"width": int(size[1]), "height": int(size[2])} if size else {"width": text}


def _sampler(name: str, schedule: str, problems: list[StudioError]) -> Scheduler | str:
    """Our sampler of this name, or the name itself."""
    sampler, folded = split_sampler(name)
    schedule = schedule or folded
    if schedule not in OWN_SCHEDULES:
        problems.append(StudioError("picture_schedule_unknown", value=schedule[:40]))
    ours = {known.lower(): scheduler for scheduler, known in SAMPLER_NAMES.items()}
    return ours.get(sampler.lower(), name)


def _valid(values: Mapping[str, Any], models: Collection[str], problems: list[StudioError]) -> dict[str, Any]:
    """The values within their bounds; adds to `problems` why the others are not."""
    valid = {}
    for name, value in values.items():
        try:
            valid[name] = _checked(name, value, models)
        except InvalidInput as error:
            problems.append(error)
    if valid.get("task", Task.TEXT_TO_IMAGE) is not Task.TEXT_TO_IMAGE:
        problems.append(StudioError("picture_from_picture"))
    if valid.get("quant_id", "none") != "none":
        problems.append(StudioError("picture_quantized", method=valid["quant_id"][:40]))
    return valid


def _checked(name: str, value: Any, models: Collection[str]) -> Any:
    """The value as a request holds it. Raises InvalidInput."""
    if name == "quant_id" and not isinstance(value, str):
        raise InvalidInput("not_text", field=name)
    if name == "base_id" and not (isinstance(value, str) and value in models):
        raise InvalidInput("not_a_choice", field=name, value=str(value)[:40], choices=", ".join(models))
    return getattr(GenerationRequest(**{"base_id": "", "prompt": "", "seed": 0, name: value}), name)
