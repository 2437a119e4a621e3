"""Maps: georeferenced predictions of finished runs, and what is counted and drawn from them."""
