"""Send processes under load, and a model of them."""
