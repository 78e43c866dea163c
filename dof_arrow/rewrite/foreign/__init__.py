"""Datasets made of vectors that others computed: arrays, data frames, files."""
