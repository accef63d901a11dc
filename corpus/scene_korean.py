"""Korean endings: particles and verb endings that depend on the last syllable."""

_HANGUL_FIRST, _HANGUL_LAST = 0xAC00, 0xD7A3
_FINALS = 28  # final consonants per vowel, "none" included
_FINAL_NONE, _FINAL_RIEUL, _FINAL_BIEUP = 0, 8, 17

_PARTICLES = {"은": "는", "이": "가", "을": "를", "과": "와", "으로": "로"}


def final_consonant(word: str) -> int:
    """Return the index of the last syllable's final consonant (받침): 0 for none, 8 for ㄹ.

    Raises:
        ValueError: If the word doesn't end in a Hangul syllable.
    """
    if not word or not _HANGUL_FIRST <= ord(word[-1]) <= _HANGUL_LAST:
        raise ValueError(f"{word!r} doesn't end in a Hangul syllable, so its particle is unknown. Reword the phrase.")
    return (ord(word[-1]) - _HANGUL_FIRST) % _FINALS


def with_particle(word: str, particle: str) -> str:
    """Attach 은/는, 이/가, 을/를, 과/와 or 으로/로; `particle` is the form after a consonant."""
    final = final_consonant(word)
    takes_vowel_form = final == _FINAL_NONE or (particle == "으로" and final == _FINAL_RIEUL)
    return word + (_PARTICLES[particle] if takes_vowel_form else particle)


def polite(stem: str) -> str:
    """Close a sentence: 있 -> 있습니다, 흐르 -> 흐릅니다, 감돌 -> 감돕니다."""
    final = final_consonant(stem)
    if final in (_FINAL_NONE, _FINAL_RIEUL):
        return stem[:-1] + chr(ord(stem[-1]) - final + _FINAL_BIEUP) + "니다"
    return stem + "습니다"


def adnominal(stem: str) -> str:
    """Put before a noun: 있 -> 있는, 흐르 -> 흐르는, 감돌 -> 감도는."""
    final = final_consonant(stem)
    return (stem[:-1] + chr(ord(stem[-1]) - final) if final == _FINAL_RIEUL else stem) + "는"


def linking(stem: str, ending: str = "며") -> str:
    """Join to a next clause with 고 or (으)며: 있 -> 있으며, 흐르 -> 흐르며, 감돌 -> 감돌며."""
    if ending == "고":
        return stem + "고"
    return stem + ("며" if final_consonant(stem) in (_FINAL_NONE, _FINAL_RIEUL) else "으며")
