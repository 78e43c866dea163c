"""SPEC.md as code: metadata, preprocessing, templates, rules, JSON model, Arrow schema."""
