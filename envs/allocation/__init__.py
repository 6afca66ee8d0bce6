"""Environments where several agents share scarce means."""
