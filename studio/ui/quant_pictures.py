"""The pictures of a comparison: beside each other, over each other, their differences, and one card to keep."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageChops, ImageDraw, ImageFont

from studio.engine.comparison import Measured
from studio.text import t
from studio.ui.figure import data_uri
from studio.ui.quant_names import badge, bits_of, decibels, method_name
from studio.ui.widgets import plain

SHOWN_SIDE = 256
AMPLIFIED = 8
CARD_SIDE, CARD_GAP, CARD_TEXT = 192, 16, 58
INK, PALE_INK = "#17282a", "#526467"


def enlarged(picture: Image.Image, side: int = SHOWN_SIDE) -> Image.Image:
    """A small picture made larger in whole pixels; a large one made smaller."""
    if picture.width >= side:
        return picture.resize((side, side * picture.height // picture.width), Image.Resampling.LANCZOS)
    times = side // picture.width
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)


def difference(picture: Image.Image, expected: Image.Image) -> Image.Image:
    """|picture - expected| for each channel, AMPLIFIED times, on black."""
    return ImageChops.difference(picture.convert("RGB"), expected.convert("RGB")).point(
        lambda level: min(255, AMPLIFIED * level)
    )


def picture_row(reference: Image.Image, rows: tuple[Measured, ...], language: str) -> str:
    """Full precision and every row, each a button that chooses what is compared, with its name and badge."""
    first = _tile(-1, reference, t("quant.reference", language), "", t("quant.reference_note", language))
    tiles = (
        _tile(
            index,
            row.picture,
            method_name(row.method, language),
            badge(row.simulated, language),
            f"{bits_of(row)} · {decibels(row.psnr)} dB",
        )
        for index, row in enumerate(rows)
    )
    return f'<div class="quant-row">{first}{"".join(tiles)}</div>'


def _tile(index: int, picture: Image.Image, name: str, mark: str, note: str) -> str:
    uri = data_uri(enlarged(picture), "PNG")
    words = f"<b>{plain(name)}</b>{mark}<small>{plain(note)}</small>"
    body = f'<img alt="" src="{uri}"><span>{words}</span>'
    if index < 0:
        return f'<div class="quant-tile">{body}</div>'
    return f'<button type="button" class="quant-tile" data-row="{index}" aria-pressed="false">{body}</button>'


def compared_pairs(reference: Image.Image, rows: tuple[Measured, ...], language: str) -> str:
    """For each row the slider over full precision, and the difference beside it; a script shows one at a time."""
    return "".join(_pair(index, row, reference, language) for index, row in enumerate(rows))


def _pair(index: int, row: Measured, reference: Image.Image, language: str) -> str:
    over = "".join(f'<img alt="" src="{data_uri(enlarged(one), "PNG")}">' for one in (reference, row.picture))
    reach, told = (plain(t(key, language)) for key in ("quant.reach", "quant.difference"))
    name = method_name(row.method, language)
    amplified = data_uri(enlarged(difference(row.picture, reference)), "PNG")
    hidden = "" if index == 0 else " hidden"
    return (
        f'<div class="quant-pair" data-pair="{index}"{hidden}><figure><div class="studio-compare">{over}'
        f'<input type="range" min="0" max="100" aria-label="{reach}"></div>'
        f"<figcaption>{plain(t('quant.over', language, name=f'{name} {bits_of(row)}'))}</figcaption></figure>"
        f'<figure><img alt="{told}" src="{amplified}"><figcaption>{told}</figcaption></figure></div>'
    )


def card_of(reference: Image.Image, rows: tuple[Measured, ...], title: str) -> Image.Image:
    """All pictures with their names and figures in one picture, to keep. In English: the font at hand knows no more."""
    tiles = [(reference, (t("quant.reference"), "", "")), *((row.picture, _words(row)) for row in rows)]
    width = CARD_GAP + len(tiles) * (CARD_SIDE + CARD_GAP)
    card = Image.new("RGB", (width, 2 * CARD_GAP + 28 + CARD_SIDE + CARD_TEXT), "white")
    pen, small = ImageDraw.Draw(card), ImageFont.load_default(13)
    pen.text((CARD_GAP, CARD_GAP - 4), title, INK, ImageFont.load_default(17))
    for index, (picture, words) in enumerate(tiles):
        left, top = CARD_GAP + index * (CARD_SIDE + CARD_GAP), CARD_GAP + 28
        card.paste(picture.resize((CARD_SIDE, CARD_SIDE), Image.Resampling.NEAREST), (left, top))
        for line, text in enumerate(words):
            pen.text((left, top + CARD_SIDE + 6 + 17 * line), text, PALE_INK if line else INK, small)
    return card


def _words(row: Measured) -> tuple[str, str, str]:
    kind, near = (
        t("quant.simulated" if row.simulated else "quant.real"),
        "equal" if row.error == 0 else decibels(row.psnr),
    )
    cost = "" if row.spent is None else f"{row.spent.median_seconds:.2f} s, {row.spent.disk_bytes / 1e6:.1f} MB"
    return f"{method_name(row.method, 'en')} {bits_of(row)}", f"{kind}, {near} dB".replace("equal dB", "equal"), cost


def png(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
