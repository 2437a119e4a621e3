"""A store on an MLflow tracking server: claims, signs of life, and what is logged while the server is away."""
