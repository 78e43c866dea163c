"""Attacks on features, as pure functions of arrays, each beside a control and a baseline."""
