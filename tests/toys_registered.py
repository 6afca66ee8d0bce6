"""`env=tests.toys_registered:Toy/Chain-v0` works in a process of its own, where no fixture has registered the toys."""

from tests import toys

toys.register()
