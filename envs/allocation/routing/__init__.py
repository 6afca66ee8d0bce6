"""`Allocation/Routing-<VARIANT>-v0`: vehicles choose their next stop, in event time. One program, a table of attributes."""
