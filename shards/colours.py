"""The colour map of PASCAL VOC, for any number of classes up to 255."""

from __future__ import annotations

from camsweep.shards.errors import InputError

Colour = tuple[int, int, int]


def colour_map(classes: int) -> tuple[Colour, ...]:
    """Colours of class indices 0, 1, ... as the VOC development kit defines them.

    The bits of the index are dealt out to red, green and blue in turn, from the highest bit of
    each channel down, so that near indices get far colours. Index 255 is the kit's border colour.

    Args:
        classes: how many colours, background included; 1 to 256.

    Returns:
        ``classes`` triples (red, green, blue), each 0 to 255. The first is black.

    Raises:
        InputError: the number does not fit an 8 bit mask.
    """
    if not 1 <= classes <= 256:
        raise InputError(f"colour map: {classes} colours asked for, an 8 bit mask has 1 to 256")
    return tuple(_colour(index) for index in range(classes))


def _colour(index: int) -> Colour:
    channels = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            bit = index >> (3 * place + channel) & 1
            channels[channel] |= bit << (7 - place)
    return channels[0], channels[1], channels[2]
