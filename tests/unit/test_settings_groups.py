"""The settings' groups as the form places them."""

from app.forms import FORM_COLUMNS
from app.settings_form import GROUPS, OTHER_GROUP


def test_every_group_stands_in_one_column_of_the_form():
    placed = [group for column in FORM_COLUMNS for group in column]
    assert sorted(placed) == sorted([*GROUPS, OTHER_GROUP])
