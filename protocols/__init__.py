"""Protocols: data files that say which places and times are held out, and the code that cuts folds by them."""
