"""Training loops: each owns one PyTree and advances it by one compiled chunk per call."""
