"""Letters of one alphabet that are drawn as letters of the Latin one.

A small choice from the data of Unicode Technical Standard 39 (confusables.txt): what
passes for a basic Latin letter in the fonts people read in. Not the whole of it, which
has ten thousand lines, most of them about signs that no word is written in.
"""

# ruff: noqa: RUF001  that is the point

from __future__ import annotations

import unicodedata

CYRILLIC = dict(
    zip(
        "АВЕЅІЈКМНОРСТУХҮԌԚԜѴаеорсухіјѕһԁԛԝӏѵү",
        "ABESIJKMHOPCTYXYGQWVaeopcyxijshdqwlvy",
        strict=True,
    )
)
GREEK = dict(
    zip(
        "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹονραυιγκϲϳϱ",
        "ABEZHIKMNOPTYXCovpauiykcjp",
        strict=True,
    )
)
ARMENIAN = dict(zip("օոսհցզյԼՏՍՕ", "onuhgqjLSUO", strict=True))
CHEROKEE = dict(
    zip(
        map(
            chr,
            (
                *(0x13A0, 0x13A1, 0x13A2, 0x13A5, 0x13AA, 0x13AB, 0x13AC, 0x13B3),
                *(0x13B7, 0x13BB, 0x13C0, 0x13C2, 0x13C3, 0x13CF, 0x13D4, 0x13D9),
                *(0x13DA, 0x13DE, 0x13DF, 0x13E2, 0x13E6, 0x13E7, 0x13F3, 0x13F4),
            ),
        ),
        "DRTiAJEWMHGhZbWVSLCPKdGB",
        strict=True,
    )
)
LISU = dict(
    zip("ꓐꓑꓒꓓꓔꓖꓗꓙꓚꓜꓝꓟꓠꓡꓢꓣꓦꓧꓪꓫꓬꓮꓰꓲꓳꓴ", "BPdDTGKJCZFMNLSRVHWXYAEIOU", strict=True)
)
COPTIC = dict(zip("ⲂⲎⲒⲔⲘⲚⲞⲟⲢⲣⲤⲥⲦⲨⲬ", "BHIKMNOoPpCcTYX", strict=True))
LATIN = dict(
    zip("ɡɑᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "gaabcdefghijklmnoprstuvwyz", strict=True)
)
"""Letters of phonetic alphabets and small capitals; no word is spelled with them."""

# Only for saying how a word reads: alone they fool nobody.
_NEAR = dict(zip("кмтнвпигьТτηωεσχμδβθπ", "kmthbnurbTtnweoxudBon", strict=True))
_ALL = CYRILLIC | GREEK | ARMENIAN | CHEROKEE | LISU | COPTIC | LATIN
_READS = str.maketrans(_NEAR | _ALL)


def reading(text: str) -> str:
    """Return how `text` reads to who expects Latin letters; "" when it does not."""
    plain = unicodedata.normalize("NFKD", text.translate(_READS))
    bare = "".join(char for char in plain if not unicodedata.combining(char))
    return bare if bare.isascii() and bare != text else ""
