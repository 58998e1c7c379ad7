"""A PostgreSQL connection pool that finds connection leaks, names the line and takes the connection back."""

from ._leakpool import __version__ as __version__
