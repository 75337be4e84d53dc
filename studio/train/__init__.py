"""Training: flat loops that write models/. Each stage is `python -m studio train STAGE`; see models/TRAINING.md."""
