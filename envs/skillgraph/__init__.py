"""Minecraft-like skill graphs: the real tech tree, worlds to obtain its items in, planners that certify the tasks."""
