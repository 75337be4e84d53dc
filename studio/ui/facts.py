"""What the history knows of a picture, for a person to read."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace

from studio.engine.parameters import SAMPLER_NAMES
from studio.engine.record import Record
from studio.text import t
from studio.ui.pictures import mark_tag
from studio.ui.restore import HASH_CHARACTERS
from studio.ui.widgets import plain

DAY_AND_MINUTE = "%Y-%m-%d %H:%M %Z"


def facts(record: Record, index: int, language: str) -> str:
    """What is known of a picture, as HTML: the marks of the eye, and a list of names and values."""
    request, timings = record.request, record.timings
    seconds = timings.encode_seconds + timings.denoise_seconds + timings.decode_seconds
    sampler = SAMPLER_NAMES.get(request["scheduler"], request["scheduler"])
    model = f"{request['base_id']} · {record.model_sha256[:10]}" if record.model_sha256 else request["base_id"]
    rows = {
        "text2img.prompt": request["prompt"],
        "text2img.negative_prompt": request["negative_prompt"],
        "text2img.task": t(f"shell.tab.{request['task']}", language),
        "text2img.strength": request["strength"] if "init_image" in request else "",
        "text2img.feather": request["feather"] if "mask" in request else "",
        "source.picture": request.get("init_image", "")[:HASH_CHARACTERS],
        "text2img.seed": request["seed"] + index,
        "text2img.num_inference_steps": request["num_inference_steps"],
        "text2img.guidance_scale": request["guidance_scale"],
        "text2img.scheduler": sampler,
        "history.size": f"{request['width']} × {request['height']}",
        "text2img.base_id": model,
        "text2img.seconds": f"{seconds:.2f} s",
        "history.created": datetime.fromtimestamp(record.created_seconds).astimezone().strftime(DAY_AND_MINUTE),
    }
    listed = "".join(
        f"<dt>{plain(t(key, language))}</dt><dd>{plain(str(value))}</dd>" for key, value in rows.items() if value != ""
    )
    marks = record.pictures[index].marks or ()
    tags = "".join(mark_tag(SimpleNamespace(**mark), language) for mark in marks)
    return f'<div class="studio-tags">{tags}</div><dl class="studio-facts">{listed}</dl>'
