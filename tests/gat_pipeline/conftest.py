"""Settings of the libraries that the graph tests compare with."""

import os

os.environ["DGLBACKEND"] = "pytorch"  # or DGL writes a settings file to the home folder when it is imported
