"""Contrast of colours on a page, by the Web Content Accessibility Guidelines 2.2."""


def luminance(colour: str) -> float:
    """Compute the relative luminance of a colour '#rrggbb', from 0 to 1."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Compute the contrast ratio of two colours, from 1 to 21. The guidelines ask for 4.5 for text, 3 for the rest."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
