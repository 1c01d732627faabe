"""The commands of the graph. Importing the library first lets it look at the processor before NumPy dies on it."""

import digits as digits
