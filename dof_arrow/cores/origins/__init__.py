"""Cores from elsewhere: the hub, timm, torch, URLs."""
