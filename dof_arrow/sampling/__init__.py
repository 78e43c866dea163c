"""Which row when, as pure data: permutation, samplers, plan, splits."""
