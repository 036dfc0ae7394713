"""Settings of the libraries that the graph tests compare with."""

import os
import warnings

os.environ["DGLBACKEND"] = "pytorch"  # or DGL writes a settings file to the home folder when it is imported
warnings.filterwarnings("ignore", message="Support for class-based `config`")
