"""Plain text -> LaTeX that means nothing but itself, in ASCII, for any engine and font encoding."""

from __future__ import annotations

import re
import unicodedata

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
}  # fmt: skip

# What reports themselves print, and what people write in labels. Math symbols are of base LaTeX:
# others (as of textcomp) are not in every font.
_SIGNS = {
    "–": "--", "—": "---", "−": "$-$", "‐": "-", "‑": "-", "’": "'", "‘": "`", "“": "``",
    "”": "''", "…": r"\ldots{}", "†": r"\dag{}", "‡": r"\ddag{}", "§": r"\S{}", "¶": r"\P{}",
    "•": r"$\bullet$", "·": r"$\cdot$", "×": r"$\times$", "÷": r"$\div$", "±": r"$\pm$",
    "≤": r"$\leq$", "≥": r"$\geq$", "≠": r"$\neq$", "≈": r"$\approx$", "∞": r"$\infty$",
    "→": r"$\rightarrow$", "←": r"$\leftarrow$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "★": r"$\star$", "☆": r"$\star$", "∗": r"$\ast$", "✓": r"$\surd$", "✗": r"$\times$",
    "°": r"$^{\circ}$", "²": "$^2$", "³": "$^3$", "¹": "$^1$", "½": r"$\frac12$", "∈": r"$\in$",
    "∪": r"$\cup$", "∩": r"$\cap$", "√": r"$\surd$", "∑": r"$\sum$", "∂": r"$\partial$",
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}",
    "Ø": r"\O{}", "å": r"\aa{}", "Å": r"\AA{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
    "¡": "!`", "¿": "?`", "©": r"\copyright{}", "£": r"\pounds{}", "\u00a0": "~",
    "\u2009": r"\,", "\u202f": r"\,", "µ": r"$\mu$",
}  # fmt: skip

_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "ζ": "zeta",
    "η": "eta", "θ": "theta", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi",
    "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "varphi", "χ": "chi", "ψ": "psi",
    "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi",
    "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip

_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030a": "r",
    "\u0327": "c", "\u030c": "v", "\u0304": "=", "\u0306": "u", "\u0307": ".", "\u030b": "H",
}  # fmt: skip

# Pairs that fonts draw as another sign: `--profile` must stay what one can type.
_LIGATURES = re.compile(r"(?<=-)(?=-)|(?<=')(?=')|(?<=`)(?=`)|(?<=,)(?=,)|(?<=[?!])(?=`)")


def _sign(char: str) -> str:
    """One character; what LaTeX has no name for is told by its number, U+4E2D."""
    for known in (_SPECIAL, _SIGNS):
        if char in known:
            return known[char]
    if char in _GREEK:
        return rf"$\{_GREEK[char]}$"
    if " " <= char <= "~":
        return char
    if char in "\t\n\r\v\f\u2028\u2029\u0085" or unicodedata.category(char) == "Zs":
        return " "
    base = unicodedata.normalize("NFD", char)
    if len(base) == 2 and base[0].isascii() and base[0].isalpha() and base[1] in _ACCENTS:
        letter = {"i": r"\i", "j": r"\j"}.get(base[0], base[0])
        return rf"\{_ACCENTS[base[1]]}{{{letter}}}"
    return f"U+{ord(char):04X}"


def tex_text(text: str) -> str:
    r"""Plain text as LaTeX in ASCII: nothing in it is a command, a ligature or an unknown sign.

    Accented letters, Greek and common signs become their commands (``é`` ``\'{e}``); whatever
    pdflatex would stop at is told by its number (``U+4E2D``); newlines become blanks.
    """
    # An empty group parts what a font would join.
    plain = unicodedata.normalize("NFC", text).replace("\0", "\u2400")
    plain = re.sub(r'(?:(?<=^)|(?<=[\s(\[]))"(?=\S)', "\u201c", plain)
    plain = _LIGATURES.sub("\0", plain)
    return "".join("{}" if char == "\0" else _sign(char) for char in plain)


def breakable(text: str, longest: int = 18) -> str:
    """As `tex_text`, and words longer than ``longest`` characters may break into lines."""
    words = []
    for word in text.split(" "):
        pieces = re.findall(rf".{{1,{longest}}}?(?:[/_=,;:.\-]+|$)|.{{{longest}}}", word, re.S)
        whole = "".join(pieces) == word and len(word) > longest
        words.append(r"\allowbreak{}".join(map(tex_text, pieces)) if whole else tex_text(word))
    return " ".join(words)
