"""What must be set before torch, gradio and the hub's client are imported. Standard library only."""

from __future__ import annotations

import gc
import logging
import os
import sys

# OpenMP reads its policy once, when torch loads it. Threads that spin while they wait take the cores from all others.
DEFAULTS = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
}

# It calls a server whenever OpenVINO is imported, as `torch.compile` does in search of its backends.
REPORTER = "openvino_telemetry"

# They report optional backends that are not installed here.
QUIET_LOGGERS = ("diffusers.quantizers.torchao.torchao_quantizer", "torch.utils._pytree")

# What diffusers says at every load of a small autoencoder, or about an empty list.
HARMLESS = {
    "diffusers.configuration_utils": "were passed to AutoencoderTiny, but are not expected",
    "diffusers.models.modeling_utils": "that should be kept in float32: []",
    "diffusers.pipelines.pipeline_utils": "Expected types for vae:",
}


def _worth_telling(record: logging.LogRecord) -> bool:
    """False for a record that is known to be harmless."""
    return HARMLESS.get(record.name, "\n") not in record.getMessage()


def prepare() -> None:
    """Set the defaults that the person has not set, and quiet the loggers. Call it before any heavy import."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    sys.modules.setdefault(REPORTER, None)  # type: ignore[arg-type]  # an import of it fails, and OpenVINO goes without
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in HARMLESS:
        logging.getLogger(name).addFilter(_worth_telling)


def pause_collector() -> None:
    """Look for no garbage until `resume_collector`: imports make many objects and next to none, and searching through
    all of them again and again takes a fifth of a start."""
    gc.disable()


def resume_collector() -> None:
    """Look for garbage again, but no longer among what is there now: modules and models stay as long as the process."""
    gc.freeze()
    gc.enable()
