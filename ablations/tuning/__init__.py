"""Choosing a profile's strengths: of the full model only, on validation only, by Optuna."""
