"""What is sampled: log p(x, z) and its gradient in z."""
