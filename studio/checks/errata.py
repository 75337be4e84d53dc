"""The errors of the articles that this studio grew from: what is said, what is right, and a test that shows it.

Texts are in assets/i18n: `errata.ID.said`, `errata.ID.right`, and `errata.ID.shown`, which names the two numbers;
`errata.article.NUMBER` is an article's title.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from studio.checks import shown
from studio.checks.shown import Pair


@dataclass(frozen=True)
class Erratum:
    """One error. articles: which of them say it; source: where the right thing stands; show: both in numbers, computed
    now; test: the test of tests/checks/test_errata.py that shows the difference."""

    id: str
    articles: tuple[str, ...]
    source: str
    show: Callable[[], Pair]
    test: str

    def text(self, part: str) -> str:
        """The key of its text: part is said, right or shown."""
        return f"errata.{self.id}.{part}"


ERRATA: tuple[Erratum, ...] = (
    Erratum("E1", ("000",), "DDPM (2006.11239), section 3.2, eq. 7", shown.sigma, "test_sigma_is_a_variance_s_root"),
    Erratum(
        "E2",
        ("000",),
        "DDPM (2006.11239), eq. 14",
        shown.loss_target,
        "test_a_perfect_network_has_no_loss_only_against_eps",
    ),
    Erratum(
        "E3",
        ("000",),
        "DDPM (2006.11239), section 3.3",
        shown.time_without_attention,
        "test_a_network_without_attention_hears_the_time",
    ),
    Erratum("E4", ("000",), "DDPM (2006.11239), eq. 2", shown.flipping_chain, "test_a_markov_chain_need_not_settle"),
    Erratum("E5", ("000",), "arXiv 1312.6114", shown.vae_year, "test_the_vae_is_of_2013"),
    Erratum(
        "E6",
        ("000",),
        "Kingma and Welling (1312.6114), eq. 10, app. B",
        shown.vae_sigma,
        "test_the_spread_of_a_code_is_sigma",
    ),
    Erratum(
        "E7",
        ("000",),
        "DDPM (2006.11239), section 2",
        shown.noise_dimensions,
        "test_the_last_noise_has_as_many_dimensions_as_the_picture",
    ),
    Erratum(
        "E9",
        ("000", "001"),
        "Zhang et al. (2302.05543), eq. 2, section 3.2",
        shown.zero_convolutions,
        "test_zero_convolutions_stand_at_the_ends_of_a_block",
    ),
    Erratum(
        "E10", ("000",), "Hu et al. (2106.09685), section 4.1", shown.lora_scaling, "test_lora_is_linear_and_scaled"
    ),
    Erratum(
        "E11",
        ("001",),
        "Hu et al. (2106.09685), section 4.2",
        shown.lora_memory,
        "test_training_a_patch_needs_the_whole_weight",
    ),
    Erratum(
        "E12",
        ("001",),
        "Ye et al. (2308.06721), section 3.2",
        shown.ip_adapter_parameters,
        "test_ip_adapter_adds_keys_and_values_beside_the_text",
    ),
    Erratum(
        "E13",
        ("001",),
        "SDEdit (2108.01073), algorithm 1",
        shown.img2img_start,
        "test_img2img_starts_from_the_noised_picture",
    ),
    Erratum(
        "E14",
        ("001",),
        "Ho and Salimans (2207.12598), section 3",
        shown.smallest_mode,
        "test_strong_guidance_loses_a_mode",
    ),
    Erratum(
        "E15",
        ("002",),
        "Bradley and Nakkiran (2408.09000)",
        shown.guided_field,
        "test_the_guided_field_is_not_the_conditional_score",
    ),
    Erratum(
        "E16",
        ("002",),
        "Bradley and Nakkiran (2408.09000)",
        shown.tilted,
        "test_guidance_does_not_sample_the_tilted_density",
    ),
    Erratum(
        "E17",
        ("002",),
        "Luo (2208.11970), section on classifier-free guidance",
        shown.accuracy_under_guidance,
        "test_guidance_pays_for_accuracy_with_diversity",
    ),
    Erratum("E18", ("002",), "Ho and Salimans (2207.12598), eq. 6", shown.w_for_gamma, "test_gamma_is_one_more_than_w"),
    Erratum(
        "E19",
        ("003",),
        "DDPM (2006.11239), eq. 11, 12; 2102.09672",
        shown.growing_beta,
        "test_beta_grows_and_the_kl_is_exact",
    ),
    Erratum(
        "E20",
        ("003",),
        "DDPM (2006.11239), algorithm 1",
        shown.times_in_a_batch,
        "test_each_picture_of_a_batch_has_its_own_time",
    ),
    Erratum(
        "E21",
        ("003",),
        "Chen (2301.10972), algorithm 1",
        shown.rescaled_beta,
        "test_a_flat_sigmoid_is_nan_and_a_rescaled_beta_leaves_its_bounds",
    ),
    Erratum(
        "E22",
        ("003",),
        "Nichol and Dhariwal (2102.09672), section 3.2",
        shown.first_amplification,
        "test_the_cap_of_the_cosine_decides_the_first_step",
    ),
    Erratum(
        "E23",
        ("004",),
        "TDQ (2306.02316), section 3.1",
        shown.zero_point,
        "test_activations_below_zero_need_a_zero_point",
    ),
    Erratum(
        "E24",
        ("lilian_weng",),
        "Nichol and Dhariwal (2102.09672), eq. 17",
        shown.cosine_middle,
        "test_the_cosine_is_squared",
    ),
)
