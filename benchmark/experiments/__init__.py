"""Jobs and their results: the queue, the workers that train, and what they leave."""
