"""Agents that plan on a skill graph and learn the skills."""
