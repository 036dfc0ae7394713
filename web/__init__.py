"""The page: drop a CIF, see the crystal, its Tc, and why."""
