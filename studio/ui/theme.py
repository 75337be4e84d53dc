"""How the studio looks: the colours and fonts of Gradio's and of antd's parts. Fonts are the system's own."""

from __future__ import annotations

from typing import Any

import gradio as gr

LAGOON = gr.themes.Color(
    name="lagoon",
    c50="#effbf9",
    c100="#d3f4ee",
    c200="#a8e8de",
    c300="#72d5c9",
    c400="#3fb9ad",
    c500="#229d93",
    c600="#147e77",
    c700="#0f655f",
    c800="#0f514d",
    c900="#0e4340",
    c950="#062725",
)
FONTS = ["system-ui", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "sans-serif"]
MONOSPACE_FONTS = ["ui-monospace", "Menlo", "Consolas", "monospace"]

# antd draws its own colours from these, in the light and in the dark.
ANTD_TOKENS: dict[str, Any] = {
    "token": {
        "colorPrimary": LAGOON.c500,
        "colorInfo": LAGOON.c500,
        "colorSuccess": "#2fa35f",
        "colorWarning": "#b7791f",
        "colorError": "#c0392b",
        "borderRadius": 8,
        "fontFamily": "var(--font)",
    }
}


def theme() -> gr.themes.Base:
    """Gradio's theme: white cards on a quiet ground, one accent, labels dark enough to read."""
    return gr.themes.Default(
        primary_hue=LAGOON,
        secondary_hue=LAGOON,
        neutral_hue=gr.themes.colors.slate,
        font=FONTS,
        font_mono=MONOSPACE_FONTS,
        radius_size=gr.themes.sizes.radius_md,
    ).set(
        body_background_fill="#f6f8f8",
        body_background_fill_dark="#0d1415",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        background_fill_primary_dark="#141d1f",
        background_fill_secondary_dark="#10191a",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_border_width_dark="0px",
        block_shadow="none",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        block_title_text_weight="500",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_padding="0",
        input_background_fill="white",
        input_background_fill_dark="#10191a",
        input_border_color_dark="#2b3a3c",
        border_color_primary_dark="#2b3a3c",
        button_secondary_background_fill="white",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_dark="#1b2729",
        button_secondary_background_fill_hover_dark="#243336",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="#2b3a3c",
        button_border_width="1px",
        button_border_width_dark="1px",
        button_primary_border_color="transparent",
        button_primary_border_color_dark="transparent",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        button_primary_text_color="white",
        slider_color="*primary_600",
        slider_color_dark="*primary_500",
    )
