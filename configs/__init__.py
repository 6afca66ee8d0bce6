"""YAML files of the command line (package data): one per verb, and the groups agent, size, preset and experiment."""
