"""Core and heads fused into one model, and predictions by it."""
