"""What operators do, for `wpp` and the console alike: find failures, and repair them."""
