"""Names for what is made of tables: files, labels and columns, each other than the rest."""

import re
from collections.abc import Iterable


def slugs_of(titles: Iterable[str]) -> list[str]:
    """Give a slug for each title, of lower-case ASCII letters, digits and hyphens; none twice."""
    words = (re.findall(r"[a-z0-9]+", title.lower()) for title in titles)
    return tell_apart(("-".join(each) or "table" for each in words), "-")


def tell_apart(names: Iterable[str], between: str) -> list[str]:
    """Give names of which none comes twice: a number from 2 on follows where one came before.

    Args:
        names: In the order in which they are given away.
        between: Stands between name and number.
    """
    given: list[str] = []
    for first in names:
        name, count = first, 1
        while name in given:
            count += 1
            name = f"{first}{between}{count}"
        given.append(name)
    return given
