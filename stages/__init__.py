"""The commands of the graph. Importing the library first lets it look at the processor, and after Ctrl-C."""

import digits as digits
