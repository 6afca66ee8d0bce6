"""The error of agents that cannot do what they are asked to."""


class UnsuitableError(ValueError, TypeError):
    """The agent cannot learn in this environment, or not with these sizes. The message names the field and what is legal."""
