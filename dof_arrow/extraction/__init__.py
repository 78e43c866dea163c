"""Pictures run once through a core: plan, run, staging, engines, reproduction."""
