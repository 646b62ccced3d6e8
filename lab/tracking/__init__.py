"""Trackers (W&B, TensorBoard, MLflow): runs shown there while they train and as they are on record; reports in W&B."""
