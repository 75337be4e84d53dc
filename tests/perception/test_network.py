from __future__ import annotations

import numpy as np
import pytest
import torch

from studio.perception.network import FEATURES, SIDE, Eye, as_input, frechet_distance, precision_recall


def test_the_eye_reads_every_attribute_of_every_picture():
    torch.manual_seed(0)
    reading = Eye().eval()(torch.rand(2, 3, SIDE, SIDE) * 2 - 1)
    assert {name: tuple(getattr(reading, name).shape) for name in reading.__dataclass_fields__} == {
        "background": (2, 7),
        "style": (2, 8),
        "kinds": (2, 11),
        "pairs": (2, 11, 8),
        "person": (2,),
        "character": (2,),
        "shirt": (2, 8),
        "pants": (2, 8),
        "pose": (2, 6),
        "features": (2, FEATURES),
    }


def test_a_picture_is_read_alike_alone_and_in_a_batch():
    torch.manual_seed(0)
    eye, x = Eye().eval(), torch.rand(3, 3, SIDE, SIDE) * 2 - 1
    together, alone = eye(x), eye(x[1:2])
    torch.testing.assert_close(together.pairs[1:2], alone.pairs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.features[1:2], alone.features, rtol=1e-4, atol=1e-5)


def test_the_eyes_input_is_between_minus_one_and_one():
    pictures = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    pictures[0, 5, 7] = (255, 0, 51)
    x = as_input(pictures)
    assert (x.shape, x.dtype) == ((1, 3, SIDE, SIDE), torch.float32)
    assert x[0, :, 5, 7].tolist() == pytest.approx([1.0, -1.0, -0.6])


def test_the_distance_of_a_set_to_itself_is_zero():
    a = torch.randn(300, 12, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_a_shift_counts_as_its_squared_length():
    a = torch.randn(300, 12, generator=torch.Generator().manual_seed(1))
    assert frechet_distance(a, a + 0.5) == pytest.approx(12 * 0.25, rel=1e-5)


def test_two_gaussians_in_one_dimension_have_the_closed_form():
    generator = torch.Generator().manual_seed(2)
    a = torch.randn(500, 1, generator=generator, dtype=torch.float64)
    b = 3 * torch.randn(700, 1, generator=generator, dtype=torch.float64) + 2
    expected = float((a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_a_scaled_set_is_as_far_as_its_spread_changes():
    a = torch.randn(400, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    a -= a.mean(0)
    assert frechet_distance(a, 3 * a) == pytest.approx(4 * float(torch.cov(a.T).trace()), rel=1e-9)


def test_the_distance_is_symmetric_and_defined_for_fewer_samples_than_features():
    generator = torch.Generator().manual_seed(4)
    a, b = torch.randn(8, 20, generator=generator), torch.randn(8, 20, generator=generator) * 2
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6)
    assert frechet_distance(a, b) > 0


def test_a_set_covers_itself_and_nothing_that_is_far_away():
    a = torch.randn(60, 5, generator=torch.Generator().manual_seed(3))
    assert precision_recall(a, a) == (1, 1)
    assert precision_recall(a, a + 100) == (0, 0)


def test_who_draws_one_of_two_kinds_is_precise_and_misses_half():
    generator = torch.Generator().manual_seed(4)
    one, other = (torch.randn(80, 3, generator=generator) + shift for shift in (0, 50))
    again = torch.randn(80, 3, generator=generator)
    precision, recall = precision_recall(again, torch.cat([one, other]))
    assert precision > 0.8 and 0.4 < recall <= 0.5


def test_neighbours_are_asked_for_only_where_there_are_enough():
    with pytest.raises(ValueError, match="3 neighbours"):
        precision_recall(torch.zeros(3, 2), torch.zeros(9, 2))
