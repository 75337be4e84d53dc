"""Full precision beside its quantized variants: one picture, several networks, and what they cost."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from studio.engine import comparison_subjects
from studio.engine.blind import BlindGame
from studio.engine.comparison import Comparison, Measured, likeness
from studio.engine.comparison_distances import Distances
from studio.engine.comparison_subjects import PixelSubject, PixelVariants, Subject, TextSubject, pixel_calls
from studio.engine.jobs import JobQueue
from studio.engine.loaders import FolderLoader
from studio.engine.memory import storage_bytes
from studio.engine.registry import Registry
from studio.engine.walking import Walk
from studio.errors import Cancelled, InvalidInput, ModelUnavailable
from studio.events import Done, Row, Step, Stopped
from studio.lineage import weights_sha256
from studio.quant.method import QuantMethod
from studio.quant.methods import METHODS
from studio.quant.quantizers import Quantizers
from studio.settings import ROOT
from studio.types import Family, GenerationRequest

from .conftest import LIMIT_BYTES, Listener
from .pixels import make_ddpm

ABSENT = QuantMethod("absent", False, (8,), (8,), lambda net, recipe: net, requires=("no_such_package",))


class Few(Quantizers):
    """The studio's methods and one whose package nobody has, calibrated in a moment."""

    prompts = ("a red house",)


@pytest.fixture(scope="module")
def quantizing(families: tuple[Family, ...], load: FolderLoader) -> Registry:
    return Registry(families, load, LIMIT_BYTES, quantizers=Few((*METHODS, ABSENT)))


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> PixelVariants:
    return PixelVariants(make_ddpm(tmp_path_factory.mktemp("pixels") / "ddpm"))


@pytest.fixture(params=["text", "pixels"])
def subject(request: pytest.FixtureRequest, variants: PixelVariants) -> Subject:
    if request.param == "pixels":
        return PixelSubject(Walk("car", 4, "ddim", "beta_tilde", 2.0, 5), variants)
    own = {"width": 64, "height": 64, "num_inference_steps": 3, "guidance_scale": 3.0}
    return TextSubject(GenerationRequest("little-world", "a red house", 7, **own))


ROWS = ("fp32", "bf16", "openvino_int8", "mse-w8a4")


def test_every_row_is_measured_and_simulated_ones_tell_no_cost(quantizing: Registry, subject: Subject):
    compared = Comparison(subject, ROWS, timed_pictures=1).run(Listener(quantizing))
    full, half, int8, simulated = compared.rows
    assert [row.quant_id for row in compared.rows] == list(ROWS)
    assert full.error == 0 and full.picture.tobytes() == compared.reference.tobytes()
    assert full.ssim == 1 and full.weights == full.arithmetic == 0
    assert 0 < half.error < int8.error and half.psnr > int8.psnr
    assert 0 < int8.error < simulated.error  # four bits lose more than eight
    for row in (full, half, int8):
        assert row.spent is not None and len(row.spent.seconds) == 1 and row.spent.seconds[0] > 0
        assert row.spent.peak_bytes > 0
    assert full.spent is not None and half.spent is not None and int8.spent is not None
    assert half.spent.disk_bytes < 0.6 * full.spent.disk_bytes + 40_000  # names and frames weigh in a tiny network
    assert simulated.simulated and simulated.spent is None
    assert all(0 < row.weights <= 1 and 0 < row.arithmetic <= 1 for row in (half, int8, simulated))


def test_the_error_is_told_for_every_step_of_the_walk(quantizing: Registry, subject: Subject):
    compared = Comparison(subject, ("bf16", "mse-w4a4"), timed_pictures=1).run(Listener(quantizing))
    for row in compared.rows:
        times = [t for t, _ in row.by_time]
        assert times == sorted(times, reverse=True) and len(times) in (3, 4)
        assert row.error == pytest.approx(math.fsum(error for _, error in row.by_time) / len(times))
        assert row.layers is not None
        assert len(row.layers.errors) == len(row.layers.layers) == len(compared.inside.layers)
        assert all(len(line) == len(row.layers.times) for line in row.layers.errors)
    static = compared.rows[1].layers
    assert static is not None and static.levels == 16
    assert all(len(set(steps)) == 1 and steps[0] > 0 for steps in static.steps.values())  # one step at all times
    assert len(compared.inside.ranges) == len(compared.inside.layers)
    assert all(ratio >= 1 for ratio in compared.inside.ratio)
    spread = compared.inside.spread
    assert compared.inside.ratio[compared.inside.layers.index(spread.layer)] == max(compared.inside.ratio)
    assert list(spread.times) == sorted(spread.times, reverse=True) and len(spread.times) == len(spread.shares)
    assert all(math.fsum(line) == pytest.approx(1, abs=1e-5) for line in spread.shares)


def test_the_distance_is_that_of_these_weights_alone(quantizing: Registry, variants: PixelVariants):
    subject = PixelSubject(Walk("car", 2, "ddim", "beta_tilde", 2.0, 5), variants)
    told = {"bf16": 4.5, "mse-w8a4": 9.0}
    for sha256, expected in ((variants.sha256, [4.5, 9.0]), ("another", [None, None])):
        distances = Distances(sha256, told)
        compared = Comparison(subject, ("bf16", "mse-w8a4"), 1, distances).run(Listener(quantizing))
        assert [row.fd_world for row in compared.rows] == expected


def test_distances_are_read_from_what_evaluate_quant_answered(tmp_path: Path):
    wheres = ("full precision", "full precision, other noise", "openvino_int8", "W8A5 tdq_ptq", "W4A4 tdq-0 trained")
    others = ("W4A4 tdq-0-shuffled trained", "W4A4 lsq-1 trained")
    rows = [{"name": "fd_world", "where": where, "value": i} for i, where in enumerate((*wheres, *others))]
    rows.append({"name": "psnr", "where": "bf16", "value": 40})
    answer = {"model": {"sha256": "ab"}, "samples": 128, "rows": rows}
    assert Distances.of_subject(tmp_path, "pixel-ddpm").of_weights("") == {}
    (tmp_path / "evaluations").mkdir()
    (tmp_path / "evaluations" / "quant-pixel-ddpm.json").write_text(json.dumps(answer), encoding="utf-8")
    found = Distances.of_subject(tmp_path, "pixel-ddpm")
    assert found.of_weights("ab") == {"fp32": 0, "openvino_int8": 2, "tdq_ptq-w8a5": 3, "tdq_trained-w4a4": 4}
    assert found.of_weights("cd") == {}


def test_the_answer_that_is_shipped_is_of_the_weights_that_are():
    models = ROOT / "models"
    found = Distances.of_subject(models, "pixel-ddpm").of_weights(weights_sha256(models / "ddpm"))
    assert {"fp32", "openvino_int8", "tdq_ptq-w8a4", "tdq_trained-w4a4", "lsq_trained-w3a3"} <= found.keys()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"rows": [{}], "model": {"sha256": "ab"}}'])
def test_an_answer_that_is_being_written_is_none(tmp_path: Path, text: str):
    (tmp_path / "evaluations").mkdir()
    (tmp_path / "evaluations" / "quant-pixel-ddpm.json").write_text(text, encoding="utf-8")
    assert Distances.of_subject(tmp_path, "pixel-ddpm") == Distances()


def test_a_method_that_was_made_for_another_model_is_refused_before_anything_is_drawn(quantizing: Registry):
    only = QuantMethod("only", True, (8, 4), (8, 4), lambda net, recipe: net, pairs=((8, 4), (4, 4)), only="pixel-ddpm")
    quantizing.quantizers, before = Few((*METHODS, only)), quantizing.quantizers
    own = {"width": 64, "height": 64, "num_inference_steps": 1, "guidance_scale": 1.0}
    context = Listener(quantizing)
    try:
        with pytest.raises(InvalidInput) as refused:
            subject = TextSubject(GenerationRequest("little-world", "a red house", 7, **own))
            Comparison(subject, ("fp32", "only-w4a4")).run(context)
        with pytest.raises(InvalidInput, match="only was trained"):
            BlindGame(subject, "only-w4a4").run(context)
    finally:
        quantizing.quantizers = before
    assert (refused.value.key, refused.value.values["field"]) == ("quant_cannot.not_its_base", "rows")
    assert context.events == []


def test_openvino_is_not_listened_to_inside(quantizing: Registry, subject: Subject):
    compared = Comparison(subject, ("fp32", "openvino_f32"), timed_pictures=1).run(Listener(quantizing))
    assert compared.rows[0].layers is not None and compared.rows[1].layers is None
    assert compared.rows[1].error < 1e-6


def test_a_full_precision_layer_differs_from_itself_by_nothing(quantizing: Registry, subject: Subject):
    row = Comparison(subject, ("fp32", "bf16"), timed_pictures=1).run(Listener(quantizing)).rows[0]
    assert row.layers is not None and {error for line in row.layers.errors for error in line} == {0.0}


class StopsAfter(Listener):
    """Cancels once it was told so many rows."""

    most = 2

    def check_cancelled(self) -> None:
        if len([event for event in self.events if isinstance(event, Row)]) >= self.most:
            raise Cancelled

    def yield_device(self) -> None:
        self.check_cancelled()


def test_a_cancel_in_the_middle_keeps_the_finished_rows(quantizing: Registry, subject: Subject):
    context = StopsAfter(quantizing)
    with pytest.raises(Cancelled):
        Comparison(subject, ROWS, timed_pictures=1).run(context)
    last = [event for event in context.events if isinstance(event, Row)][-1].values
    assert [row.quant_id for row in last["rows"]] == ["fp32", "bf16"]
    assert last["reference"].size == last["rows"][0].picture.size
    assert not quantizing.lane.locked()
    assert not any(one.leases for one in quantizing.snapshot().resident)


def test_a_cancelled_job_still_tells_its_rows_to_whoever_comes_later(quantizing: Registry, variants: PixelVariants):
    queue = JobQueue(quantizing)
    subject = PixelSubject(Walk("car", 4, "ddim", "beta_tilde", 2.0, 5), variants)
    try:
        job = queue.submit(Comparison(subject, ("fp32", "bf16", "openvino_f32"), timed_pictures=20), "me")
        for event in job.tail():
            if isinstance(event, Row):
                job.request_stop()
        told = list(job.tail())
    finally:
        queue.close()
    assert isinstance(told[-1], Stopped)
    rows: tuple[Measured, ...] = [event for event in told if isinstance(event, Row)][-1].values["rows"]
    assert rows[0].quant_id == "fp32" and len(rows) < 3


def test_a_row_without_its_backend_is_refused_before_anything_is_drawn(quantizing: Registry, subject: Subject):
    context = Listener(quantizing)
    with pytest.raises(ModelUnavailable) as raised:
        Comparison(subject, ("fp32", "absent"), timed_pictures=1).run(context)
    assert raised.value.values["package"] == "no_such_package"
    assert context.events == []


@pytest.mark.parametrize(
    ("rows", "key"),
    [(("fp32",), "quant_rows"), (tuple(f"mse-w{b}a8" for b in range(2, 9)), "quant_rows"), (("a", "a"), "quant_twice")],
)
def test_two_to_six_different_rows(variants: PixelVariants, rows: tuple[str, ...], key: str):
    with pytest.raises(InvalidInput) as raised:
        Comparison(PixelSubject(Walk("car", 4, "ddim", "beta_tilde", 2.0, 5), variants), rows)
    assert (raised.value.key, raised.value.values["field"]) == (key, "rows")


def test_bits_outside_two_to_eight_are_refused(quantizing: Registry, subject: Subject):
    with pytest.raises(InvalidInput) as raised:
        Comparison(subject, ("fp32", "mse-w9a8")).run(Listener(quantizing))
    assert raised.value.values["field"] == "weight_bits"


def test_variants_of_the_pixel_model_are_kept_and_the_oldest_go(
    variants: PixelVariants, quantizing: Registry, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(comparison_subjects, "KEPT_VARIANTS", 2)
    first = variants.net("bf16", quantizing.quantizers)
    assert variants.net("bf16", quantizing.quantizers) is first
    variants.net("fp32", quantizing.quantizers)
    variants.net("openvino_f32", quantizing.quantizers)
    assert not variants.has("bf16") and variants.has("fp32")
    assert storage_bytes([first]) < storage_bytes([variants.model().net])


def test_the_pixel_models_calls_go_from_noise_to_picture_with_labels_and_without(variants: PixelVariants):
    calls = pixel_calls(variants.model())
    times = [int(args[1][0]) for args, _ in calls]
    assert times == sorted(times, reverse=True) and times[0] == 999 and times[-1] < 30
    assert {args[2] is None for args, _ in calls} == {True, False}
    assert not any(torch.is_inference(args[0]) for args, _ in calls)


def test_a_game_draws_ten_pairs_of_ten_seeds(quantizing: Registry, subject: Subject):
    context = Listener(quantizing)
    pairs = BlindGame(subject, "mse-w4a4").run(context).pairs
    assert len(pairs) == 10 and len({pair.full.tobytes() for pair in pairs}) == 10
    assert all(pair.full.tobytes() != pair.quantized.tobytes() for pair in pairs)
    assert [event.index for event in context.events if isinstance(event, Step)] == list(range(1, 21))


def test_the_likeness_of_a_picture_to_itself_is_perfect(variants: PixelVariants, quantizing: Registry):
    subject = PixelSubject(Walk("car", 4, "ddim", "beta_tilde", 2.0, 5), variants)
    with subject.open("fp32", Listener(quantizing)) as variant:
        picture = variant.draw(None)
    psnr, ssim = likeness(picture, picture)
    assert psnr > 100 and ssim == pytest.approx(1)


def test_the_queue_tells_the_whole_result_at_the_end(quantizing: Registry, variants: PixelVariants):
    queue = JobQueue(quantizing)
    try:
        subject = PixelSubject(Walk("car", 4, "ddim", "beta_tilde", 2.0, 5), variants)
        *_, last = queue.submit(Comparison(subject, ("fp32", "bf16"), timed_pictures=1), "me").tail()
    finally:
        queue.close()
    assert isinstance(last, Done) and [row.quant_id for row in last.result.rows] == ["fp32", "bf16"]


def test_no_folder_is_an_error_that_names_it(tmp_path: Path, quantizing: Registry):
    subject = PixelSubject(Walk("car", 4, "ddim", "beta_tilde", 2.0, 5), PixelVariants(tmp_path / "ddpm"))
    with pytest.raises(ModelUnavailable):
        Comparison(subject, ("fp32", "bf16")).run(Listener(quantizing))
