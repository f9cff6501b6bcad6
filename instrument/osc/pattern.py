"""OSC 1.0 address patterns: ``?``, ``*``, ``[a-z]``, ``[!a-z]``, ``{one,two}``, none of which reaches across a ``/``.

Pure, any thread. Matching is by sets of positions, so that no pattern takes longer than its length times the
address's (a regular expression made of stars can take for ever).
"""

from __future__ import annotations

from dataclasses import dataclass

SPECIAL = frozenset("?*[]{}")
MOST = 48  # wildcards and words: with more, matching every address of a set would take over 10 ms


@dataclass(frozen=True)
class _Piece:
    """One step of a pattern: any run (``star``), one character of a set, or one of some words."""

    star: bool = False
    characters: frozenset[str] = frozenset()
    inverted: bool = False
    words: tuple[str, ...] = ()


def is_pattern(address: str) -> bool:
    """Whether the address is a pattern at all."""
    return not SPECIAL.isdisjoint(address)


class Pattern:
    """A pattern, read once. Raises ValueError for a bracket without its other half, or far too many wildcards."""

    def __init__(self, pattern: str) -> None:
        self._parts = [_pieces(part) if is_pattern(part) else part for part in pattern.split("/")]
        pieces = [piece for part in self._parts if not isinstance(part, str) for piece in part]
        if sum(max(len(piece.words), piece.star or piece.inverted) for piece in pieces) > MOST:
            raise ValueError(f"OSC: a pattern of more than {MOST} wildcards and words")
        self._seen: dict[tuple[int, str], bool] = {}  # most addresses share most of their parts

    def matches(self, address: str) -> bool:
        """Whether ``address`` fits, part by part."""
        names = address.split("/")
        return len(self._parts) == len(names) and all(
            part == name if isinstance(part, str) else self._fits(i, name)
            for i, (part, name) in enumerate(zip(self._parts, names, strict=True))
        )

    def _fits(self, place: int, name: str) -> bool:
        if (place, name) not in self._seen:
            part = self._parts[place]
            self._seen[place, name] = not isinstance(part, str) and _fits(part, name)
        return self._seen[place, name]


def _fits(pieces: list[_Piece], name: str) -> bool:
    places = {0}
    for piece in pieces:
        places = (
            {end for place in places for end in _ends(piece, name, place)} if not piece.star else _onward(places, name)
        )
        if not places:
            return False
    return len(name) in places


def _onward(places: set[int], name: str) -> set[int]:
    return set(range(min(places), len(name) + 1))


def _ends(piece: _Piece, name: str, place: int) -> list[int]:
    if piece.words:
        return [place + len(word) for word in piece.words if name.startswith(word, place)]
    if place < len(name) and (name[place] in piece.characters) != piece.inverted:
        return [place + 1]
    return []


def _pieces(part: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    i = 0
    while i < len(part):
        closing = {"[": "]", "{": "}"}.get(part[i], "")
        end = part.find(closing, i) if closing else i
        if end < 0 or part[i] in "]}":
            raise ValueError(f"OSC: the pattern part {part[:60]!r} has a bracket without its other half")
        piece = _piece(part[i], part[i + 1 : end])
        if not (piece.star and pieces and pieces[-1].star):  # many stars are one
            pieces.append(piece)
        i = end + 1
    return pieces


def _piece(first: str, inside: str) -> _Piece:
    if first == "*":
        return _Piece(star=True)
    if first == "?":
        return _Piece(inverted=True)
    if first == "{":
        return _Piece(words=tuple(dict.fromkeys(inside.split(","))))
    if first == "[":
        inverted = inside.startswith("!")
        return _Piece(characters=_characters(inside[inverted:]), inverted=inverted)
    return _Piece(characters=frozenset(first))


def _characters(inside: str) -> frozenset[str]:
    """``a-cx`` -> a, b, c, x; a minus at an end is itself."""
    found: set[str] = set()
    i = 0
    while i < len(inside):
        if inside[i + 1 : i + 2] == "-" and i + 2 < len(inside):
            found.update(map(chr, range(ord(inside[i]), ord(inside[i + 2]) + 1)))
            i += 3
        else:
            found.add(inside[i])
            i += 1
    return frozenset(found)
