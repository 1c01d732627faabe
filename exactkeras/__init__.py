"""Train any keras.Sequential of Dense and Conv2D in exact arithmetic: the same bytes on every machine."""
