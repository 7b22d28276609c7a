"""The pages of training jobs."""
