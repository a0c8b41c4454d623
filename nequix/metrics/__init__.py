"""How far predictions are from labels: one implementation for evaluations, training and assessments."""
