"""A PostgreSQL connection pool that finds connection leaks, names the line that leaks and takes the connection back.

`Pool` is for threads, `AsyncPool` for asyncio; both in the manners of psycopg_pool, their connections in those of psycopg 3.
"""

from . import _interpreter

_interpreter.check()

from . import errors as errors  # noqa: E402
from . import rows as rows
from . import types as types
from ._dbapi import *
from ._leakpool import CheckoutInfo as CheckoutInfo
from ._leakpool import Event as Event
from ._leakpool import Exhausted as Exhausted
from ._leakpool import Frame as Frame
from ._leakpool import PoolMetrics as PoolMetrics
from ._leakpool import PoolStatus as PoolStatus
from ._leakpool import Revocation as Revocation
from ._leakpool import Site as Site
from ._leakpool import Subscription as Subscription
from ._leakpool import __version__ as __version__
from .async_pool import AsyncPool as AsyncPool
from .errors import ConnectionLost as ConnectionLost
from .errors import ConnectionReleased as ConnectionReleased
from .errors import ForceReleased as ForceReleased
from .errors import Forked as Forked
from .errors import InvalidOption as InvalidOption
from .errors import PoolClosed as PoolClosed
from .errors import PoolTimeout as PoolTimeout
from .errors import TooManyRequests as TooManyRequests
from .pool import Pool as Pool
from .watch import LeakDetector as LeakDetector
from .watch import watch as watch
