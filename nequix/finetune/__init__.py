"""Fine-tuning: a training run that starts from a model and changes some of its parameters."""
