"""Depth and poses of photographs, by networks of others, whose weights a person brings.

Each lies in `models/annotators`, or in the hub's cache where another program has put it; nothing is downloaded on the
way. controlnet_aux reads pickled weights, of which torch takes tensors alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from studio.construction import CONSTRUCTION_LOCK, imported
from studio.detectors.detector import Detector, Finds, Places, Posed, resized
from studio.errors import ModelUnavailable
from studio.world.maps import depth_map
from studio.world.pose import JOINTS
from studio.world.skeleton import Skeleton

ANNOTATORS = "annotators"
"""The folder in the models folder where weights of detectors may lie."""
AUTHORS = "lllyasviel/Annotators"
DEPTH_ANYTHING = "depth-anything/Depth-Anything-V2-Small-hf"
SIDE = 512
"""Of a picture's shorter side in pixels, as controlnet_aux's detectors look at it."""


@dataclass(frozen=True)
class Weights:
    """What a detector needs: a file of a repository; beside: what else is read of the folder that it lies in."""

    repo: str
    file: str
    beside: tuple[str, ...] = ()

    def own(self, places: Places) -> Path:
        """Where a person may put it; a model of several files has a folder."""
        folder = places.models / ANNOTATORS
        return (folder / self.repo.partition("/")[2] if self.beside else folder) / self.file

    def find(self, places: Places) -> Path | None:
        """The file, with all beside it; None if it is nowhere."""
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(self.repo, self.file, cache_dir=places.hub_cache)
        for file in (self.own(places), *([Path(cached)] if isinstance(cached, str) else [])):
            if all((file.parent / name).is_file() for name in (file.name, *self.beside)):
                return file
        return None

    def missing(self, detector_id: str, places: Places) -> ModelUnavailable | None:
        """The error that says what is needed and where it goes, or None."""
        if self.find(places) is not None:
            return None
        return ModelUnavailable(
            "detector_needs", model=detector_id, file=self.file, repo=self.repo, folder=self.own(places).parent
        )


class AuxDepth:
    """A depth detector of controlnet_aux: near is white."""

    def __init__(self, detect: Callable[..., Any]) -> None:
        self._detect = detect

    def map_of(self, picture: Image.Image, options: Mapping[str, Any]) -> Image.Image:
        found = np.asarray(self._detect(np.asarray(picture), output_type="np"))
        nearness = np.asarray(found[..., 0] / 255, np.float32)
        return Image.fromarray(depth_map(resized(nearness, picture.size)))


class DepthAnything:
    """Yang et al., 2406.09414, by transformers: what it predicts is larger where something is nearer."""

    def __init__(self, folder: Path) -> None:
        options = {"local_files_only": True, "trust_remote_code": False}
        self._processor = imported("transformers", "AutoImageProcessor").from_pretrained(folder, **options)
        made = imported("transformers", "AutoModelForDepthEstimation")
        self._model = made.from_pretrained(folder, use_safetensors=True, **options).eval()

    def map_of(self, picture: Image.Image, options: Mapping[str, Any]) -> Image.Image:
        import torch

        with torch.inference_mode():
            predicted = self._model(**self._processor(images=picture, return_tensors="pt")).predicted_depth[0]
        nearness = _from_zero_to_one(predicted.float().numpy())
        return Image.fromarray(depth_map(resized(nearness, picture.size)))


def _from_zero_to_one(values: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / max(high - low, 1e-12), np.float32)


class OpenPose(Posed):
    """Cao et al., 1812.08008, by controlnet_aux: bodies, without hands and faces."""

    def __init__(self, detector: Any) -> None:
        self._detector = detector

    def skeletons(self, picture: Image.Image) -> tuple[Skeleton, ...]:
        from controlnet_aux.util import resize_image

        found = self._detector.detect_poses(resize_image(np.array(picture), SIDE))
        return tuple(skeleton_of(pose.body.keypoints) for pose in found)


def skeleton_of(keypoints: list[Any]) -> Skeleton:
    """A skeleton of controlnet_aux's keypoints, which are shares of the picture, or None."""
    return Skeleton(
        tuple((float(one.x), float(one.y)) if one is not None else None for one in keypoints[: len(JOINTS)])
    )


def _open_midas(file: Path) -> Finds:
    from controlnet_aux.midas import MidasDetector

    return AuxDepth(MidasDetector.from_pretrained(str(file.parent), filename=file.name))


def _open_zoe(file: Path) -> Finds:
    from controlnet_aux.zoe import ZoeDetector

    return AuxDepth(ZoeDetector.from_pretrained(str(file.parent), filename=file.name))


def _open_openpose(file: Path) -> Finds:
    from controlnet_aux.open_pose import OpenposeDetector
    from controlnet_aux.open_pose.body import Body

    return OpenPose(OpenposeDetector(Body(str(file))))


def _photographs(detector_id: str, kind: Any, weights: Weights, build: Callable[[Path], Finds]) -> Detector:
    """A detector that needs these weights. build: makes it of their file."""

    def opened(places: Places) -> Finds:
        if (missing := weights.missing(detector_id, places)) is not None:
            raise missing
        file = weights.find(places)
        assert file is not None
        try:
            with CONSTRUCTION_LOCK, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # controlnet_aux imports timm by its old names
                return build(file)
        except Exception as error:  # whatever a library trips over in a stranger's file: it is the file's fault
            raise ModelUnavailable("load_failed", model=detector_id, reason=type(error).__name__) from error

    return Detector(detector_id, kind, lambda places: weights.missing(detector_id, places), opened)


MIDAS = _photographs("midas", "depth", Weights(AUTHORS, "dpt_hybrid-midas-501f0c75.pt"), _open_midas)
ZOE = _photographs("zoe", "depth", Weights(AUTHORS, "ZoeD_M12_N.pt"), _open_zoe)
DEPTH = _photographs(
    "depth_anything",
    "depth",
    Weights(DEPTH_ANYTHING, "model.safetensors", ("config.json", "preprocessor_config.json")),
    lambda file: DepthAnything(file.parent),
)
OPENPOSE = _photographs("openpose", "pose", Weights(AUTHORS, "body_pose_model.pth"), _open_openpose)
