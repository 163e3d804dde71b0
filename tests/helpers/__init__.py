"""Shared by the tests: models, methods, checks."""

import pytest

pytest.register_assert_rewrite("tests.helpers.checks")
