"""Batches for training: shuffled, balanced, resumable, for every framework."""
