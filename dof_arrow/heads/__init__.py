"""Heads on frozen features: trained, judged, exported."""
