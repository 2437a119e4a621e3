"""One training: config, the label guard, the loop, and the prediction of a part."""
