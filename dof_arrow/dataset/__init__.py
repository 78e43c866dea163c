"""The `Dataset`: rows, clips, and how two datasets differ."""
