// From an ES module: by name, and all of it.

import leakpool, { Pool, types } from 'leakpool'

export const pools: Pool[] = [new Pool(), new leakpool.Pool(), new leakpool.ProductionPool()]
export const same: typeof leakpool.types = types
