"""What `schemas.settings` lets pass, beside what the walks over all settings try."""

from typing import Literal

import pytest

from schemas.settings import Allowed, check_value


def test_true_is_no_number_and_no_numbered_choice():
    with pytest.raises(ValueError, match=r"zero\.stage must be one of 0, 1, got True"):
        check_value("zero.stage", True, Literal[0, 1])
    with pytest.raises(ValueError, match="must be a whole number, got True"):
        check_value("steps", True, int)
    check_value("zero.stage", 1, Literal[0, 1])


@pytest.mark.parametrize("hint", [int, float])
def test_a_number_beyond_every_float_is_refused_like_any_other(hint):
    with pytest.raises(ValueError, match="steps must be >= 1, got a number too large"):
        check_value("steps", 10**400, hint, Allowed(low=1))
