"""Contact sheet of some materials in all their views, with formula, Tc and a legend of the colours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw, ImageFont
from pymatgen.core import Structure

from dinov3_pipeline.render.atoms import MOST_D_ELECTRONS, MOST_VALENCE_ELECTRONS, site_color
from dinov3_pipeline.render.options import RenderOptions, view_names
from dinov3_pipeline.render.rendering import views

THUMBNAIL_PX = 112
PITCH_PX = 114
BLOCKS_ACROSS = 2
GAP_PX = 24
HEADING_PX = 30
LEGEND_PX = 96
LABEL_PX = 44
WHITE, GREY, BACKGROUND = (255, 255, 255), (150, 150, 150), (18, 18, 22)
CHANNELS = (
    ("red: d electrons", f"0 to {MOST_D_ELECTRONS}", 0),
    ("green: valence electrons", f"0 to {MOST_VALENCE_ELECTRONS}", 1),
    ("blue: phonon frequency", "heavy to light", 2),
)
SWATCHES = ("H", "B", "O", "Mg", "Ca", "Fe", "Cu", "As", "Y", "Nb", "Sn", "Ba", "La", "Hg", "Pb")


@dataclass(frozen=True, kw_only=True)
class SheetMaterial:
    """One block of the sheet."""

    formula: str
    tc_K: float
    structure: Structure


def contact_sheet(materials: Sequence[SheetMaterial], options: RenderOptions) -> Image.Image:
    """Draw one block a material: a row per supercell, a column per direction."""
    small = replace(options, image_size=THUMBNAIL_PX)
    directions = list(dict.fromkeys(name.split("_")[1] for name in view_names(small)))
    block = (
        LABEL_PX + len(directions) * PITCH_PX + GAP_PX,
        HEADING_PX + len(small.supercells) * PITCH_PX + GAP_PX,
    )
    across = min(BLOCKS_ACROSS, len(materials))
    down = -(-len(materials) // across)
    sheet = Image.new("RGB", (GAP_PX + across * block[0], GAP_PX + down * block[1] + LEGEND_PX), BACKGROUND)
    for number, material in enumerate(materials):
        corner = (GAP_PX + number % across * block[0], GAP_PX + number // across * block[1])
        _block(sheet, corner, material, small, directions)
    _legend(ImageDraw.Draw(sheet), GAP_PX, GAP_PX + down * block[1])
    return sheet


def _block(
    sheet: Image.Image, corner: tuple[int, int], material: SheetMaterial, options: RenderOptions, directions: list[str]
) -> None:
    left, top = corner[0] + LABEL_PX, corner[1] + HEADING_PX
    text = ImageDraw.Draw(sheet)
    text.text((left, corner[1]), material.formula, WHITE, ImageFont.load_default(18))
    end = left + len(directions) * PITCH_PX
    text.text((end, corner[1]), f"Tc = {material.tc_K:g} K", WHITE, ImageFont.load_default(18), anchor="ra")
    for row, supercell in enumerate(options.supercells):
        middle = top + row * PITCH_PX + THUMBNAIL_PX // 2
        text.text((left - 8, middle), supercell, GREY, ImageFont.load_default(12), anchor="rm")
        names = [f"{supercell}_{direction}" for direction in directions]
        images = views(material.structure, options=options, names=names)
        for column, image in enumerate(images):
            sheet.paste(Image.fromarray(image), (left + column * PITCH_PX, top + row * PITCH_PX))
    for column, direction in enumerate(directions):
        text.text((left + column * PITCH_PX + 4, top + 2), direction, GREY, ImageFont.load_default(12))


def _legend(draw: ImageDraw.ImageDraw, left: int, top: int) -> None:
    font = ImageFont.load_default(13)
    for number, (name, scale, channel) in enumerate(CHANNELS):
        x = left + LABEL_PX + number * 220
        for step in range(128):
            color = [0, 0, 0]
            color[channel] = 2 * step
            draw.line([(x + step, top + 8), (x + step, top + 20)], tuple(color))
        draw.text((x, top + 26), f"{name}, {scale}", GREY, font)
    for number, symbol in enumerate(SWATCHES):
        x, y = left + LABEL_PX + 12 + number * 48, top + 66
        red, green, blue = site_color({symbol: 1.0}).tolist()
        draw.ellipse([x - 11, y - 11, x + 11, y + 11], (red, green, blue))
        draw.text((x + 14, y), symbol, WHITE, font, anchor="lm")
