"""All tests of this folder compile quickly."""

from tests.quick import quick_compiles as quick_compiles
