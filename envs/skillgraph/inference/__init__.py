"""Finding a skill graph out by trying: logs of a random walk over options, preconditions and effects learned from them, plans on what was
learned."""
