"""Agents for several agents at once: independent, with a central critic, with a channel between them, and by a sum of values."""
