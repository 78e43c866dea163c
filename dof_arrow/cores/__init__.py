"""Frozen models: where they are cut, how they see a picture, what they cost."""
