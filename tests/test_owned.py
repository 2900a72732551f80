"""Names of folders."""

import pytest

from dfercli.errors import DferError
from dfercli.owned import check_name


@pytest.mark.parametrize("name", ["", ".", "..", "a/../b", "/a", "a//b", "C:/a", "nul", "a" * 256])
def test_names_that_are_not_safe_are_refused(name):
    with pytest.raises(DferError, match=r"^clip: "):
        check_name(name, "clip")


@pytest.mark.parametrize("name", ["a", "p0/surprise", "Überraschung 1", "顔", "a.b", "cons", "a b"])
def test_usual_names_are_safe(name):
    check_name(name, "clip")
