"""Fine-tuning: a training run that begins with a model and changes some of its parameters."""
