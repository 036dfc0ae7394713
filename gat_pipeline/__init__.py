"""Graph pipeline: atom graph and line graph of a crystal, read by ALIGNN."""
